// What scripts/addon-file.mjs reads from files that are made here, byte by byte: whether symbols are left, and whether a library has machine code.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isLeftToLinking, isStripped, madeFor } from '../../scripts/addon-file.mjs';

const folder = mkdtempSync(join(tmpdir(), 'addon-file-'));
after(() => rmSync(folder, { recursive: true }));

function fileWith(bytes) {
  const file = join(folder, 'file');
  writeFileSync(file, bytes);
  return file;
}

const [SHT_PROGBITS, SHT_SYMTAB, SHT_DYNSYM] = [1, 2, 11];

/** A file of the loader with sections of these types, and nothing in them. */
function elf(types) {
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeBigUInt64LE(64n, 0x28);
  header.writeUInt16LE(64, 0x3a);
  header.writeUInt16LE(types.length, 0x3c);
  const sections = types.map((type) => {
    const section = Buffer.alloc(64);
    section.writeUInt32LE(type, 4);
    return section;
  });
  return Buffer.concat([header, ...sections]);
}

test('an addon without a symbol table is stripped; symbols that the loader needs do not count', () => {
  assert.equal(isStripped(fileWith(elf([0, SHT_PROGBITS, SHT_DYNSYM]))), true);
  assert.equal(isStripped(fileWith(elf([0, SHT_PROGBITS, SHT_DYNSYM, SHT_SYMTAB]))), false);
});

test('of other kinds of files nothing is known', () => {
  assert.equal(isStripped(fileWith(Buffer.concat([Buffer.from('MZ'), Buffer.alloc(62)]))), undefined);
});

/** The beginning of a program: numbers of a size in bytes at their places. */
function program(fields) {
  const bytes = Buffer.alloc(256);
  for (const [at, size, value] of fields) bytes.writeUIntLE(value, at, size);
  return fileWith(bytes);
}

test('files tell the platform that they are for', () => {
  const elfMagic = [0, 4, 0x464c457f];
  assert.deepEqual(madeFor(program([elfMagic, [18, 2, 62]])), { os: 'linux', cpu: 'x64' });
  assert.deepEqual(madeFor(program([elfMagic, [18, 2, 183]])), { os: 'linux', cpu: 'arm64' });
  assert.deepEqual(madeFor(program([elfMagic, [18, 2, 3]])), { os: 'linux', cpu: undefined });
  const machMagic = [0, 4, 0xfeedfacf];
  assert.deepEqual(madeFor(program([machMagic, [4, 4, 0x01000007]])), { os: 'darwin', cpu: 'x64' });
  assert.deepEqual(madeFor(program([machMagic, [4, 4, 0x0100000c]])), { os: 'darwin', cpu: 'arm64' });
  const pe = (machine) => [
    [0, 2, 0x5a4d],
    [0x3c, 4, 128],
    [128, 4, 0x4550],
    [132, 2, machine],
  ];
  assert.deepEqual(madeFor(program(pe(0x8664))), { os: 'win32', cpu: 'x64' });
  assert.deepEqual(madeFor(program(pe(0xaa64))), { os: 'win32', cpu: 'arm64' });
  assert.equal(
    madeFor(
      program([
        [0, 2, 0x5a4d],
        [0x3c, 4, 9999],
      ]),
    ),
    undefined,
  );
  assert.equal(madeFor(program([])), undefined);
  assert.equal(madeFor(fileWith('no binary')), undefined);
});

/** A member of an archive: its header, and its content filled up to an even length. */
function member(name, content) {
  const fields = [name.padEnd(16), '0'.padEnd(12), '0'.padEnd(6), '0'.padEnd(6), '644'.padEnd(8)];
  const header = Buffer.from(`${fields.join('')}${String(content.length).padEnd(10)}\`\n`, 'latin1');
  return Buffer.concat([header, content, Buffer.alloc(content.length % 2, '\n')]);
}

const archive = (...members) => fileWith(Buffer.concat([Buffer.from('!<arch>\n'), ...members]));

const metadata = Buffer.from('rust metadata');
const bitcode = Buffer.from([0x42, 0x43, 0xc0, 0xde, 1]);
const machineCode = elf([0, SHT_PROGBITS]);

test('a library is left to linking when all its objects are intermediate code', () => {
  assert.equal(isLeftToLinking(archive(member('lib.rmeta/', metadata), member('a.o/', bitcode))), true);
  assert.equal(isLeftToLinking(archive(member('lib.rmeta/', metadata), member('a.o/', machineCode))), false);
  assert.equal(isLeftToLinking(archive(member('a.o/', bitcode), member('b.o/', machineCode))), false);
  assert.equal(isLeftToLinking(archive(member('lib.rmeta/', metadata))), false);
});

test('long names are found in the table of GNU and before the content of BSD', () => {
  const table = member('//', Buffer.from('engine-0123456789abcdef.o/\nlib.rmeta.of.the.engine/\n'));
  assert.equal(isLeftToLinking(archive(table, member('/0', bitcode), member('/27', metadata))), true);
  assert.equal(isLeftToLinking(archive(table, member('/0', machineCode), member('/27', metadata))), false);
  const long = Buffer.from('engine-0123456789abcdef.o\0\0\0');
  assert.equal(isLeftToLinking(archive(member('#1/28', Buffer.concat([long, bitcode])))), true);
  assert.equal(isLeftToLinking(archive(member('#1/28', Buffer.concat([long, machineCode])))), false);
});

test('what is no archive is a mistake', () => {
  assert.throws(() => isLeftToLinking(fileWith(machineCode)), /is no archive/);
});
