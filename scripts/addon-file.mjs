// What the file of an addon says of how it was built: for which platform, whether its symbols were removed, and whether what went into it was left
// to link-time optimization. Reads files, runs nothing.
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** Type of the section with the symbols that debuggers read. Source: ELF, gABI 4.1, "Section Types". */
const SHT_SYMTAB = 2;

/** Has it no symbols but those that the loader needs? Undefined for files that are not 64-bit little-endian ELF. */
export function isStripped(file) {
  const bytes = readFileSync(file);
  if (bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1) return undefined;
  const [table, size, count] = [
    Number(bytes.readBigUInt64LE(0x28)),
    bytes.readUInt16LE(0x3a),
    bytes.readUInt16LE(0x3c),
  ];
  return !Array.from({ length: count }, (_, n) => bytes.readUInt32LE(table + n * size + 4)).includes(SHT_SYMTAB);
}

/** How the formats of the systems number processors. Sources: ELF gABI, Mach-O's `mach/machine.h`, "PE Format" of Microsoft. */
const processors = {
  linux: { 62: 'x64', 183: 'arm64' },
  darwin: { 16777223: 'x64', 16777228: 'arm64' },
  win32: { 34404: 'x64', 43620: 'arm64' },
};

/** The system and processor that a file is for, as Node.js calls them; undefined for what is no program of them. */
export function madeFor(file) {
  const bytes = readFileSync(file);
  if (bytes.length < 64) return undefined;
  const found = (os, number) => ({ os, cpu: processors[os][number] });
  if (bytes.readUInt32BE(0) === 0x7f454c46) return found('linux', bytes.readUInt16LE(18));
  if (bytes.readUInt32LE(0) === 0xfeedfacf) return found('darwin', bytes.readUInt32LE(4));
  if (bytes.readUInt16BE(0) !== 0x4d5a) return undefined;
  const header = bytes.readUInt32LE(0x3c);
  const isProgram = header + 6 <= bytes.length && bytes.readUInt32BE(header) === 0x50450000;
  return isProgram ? found('win32', bytes.readUInt16LE(header + 4)) : undefined;
}

/**
 * Has a Rust library (.rlib) no machine code, but the intermediate code of LLVM? Then the code of a program that it is linked into can have been
 * made by link-time optimization alone. Cargo compiles libraries so exactly when that is on and nobody else needs them: with "rlib" in the
 * `crate-type` of the addon it leaves it out without a word (cargo issue 9672), and there is machine code here.
 */
export function isLeftToLinking(rlib) {
  const objects = membersOf(rlib).filter(({ name }) => name.endsWith('.o'));
  return objects.length > 0 && objects.every(({ start }) => start.readUInt32BE(0) === 0x4243c0de);
}

/** The files in an archive of Unix, with the first bytes of each. Names longer than 15 bytes stand in a table, as GNU has it, or before the content, as BSD. */
function membersOf(archive) {
  const file = openSync(archive, 'r');
  const read = (at, length) => {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(file, bytes, 0, length, at));
  };
  try {
    if (read(0, 8).toString() !== '!<arch>\n') throw new Error(`${archive} is no archive`);
    const members = [];
    let names = '';
    for (let at = 8; ; ) {
      const header = read(at, 60).toString('latin1');
      if (header.length < 60) return members;
      const [field, size] = [header.slice(0, 16).trim(), Number(header.slice(48, 58))];
      if (field === '//') names = read(at + 60, size).toString('latin1');
      const bsd = /^#1\/(\d+)$/.exec(field);
      const before = bsd === null ? 0 : Number(bsd[1]);
      const name =
        bsd !== null
          ? read(at + 60, before)
              .toString('latin1')
              .replace(/\0+$/, '')
          : /^\/\d+$/.test(field)
            ? names.slice(Number(field.slice(1))).split('/\n', 1)[0]
            : field.replace(/\/$/, '');
      members.push({ name, start: read(at + 60 + before, 4) });
      at += 60 + size + (size % 2);
    }
  } finally {
    closeSync(file);
  }
}
