// Header lines of a request, as the engine gives them and as applications read them.

type Pairs = readonly (readonly [string, string])[];

/**
 * Header lines as applications read them, of one string with a line for each name and each value: as pairs the headers take most of what a hub
 * remembers of a connection, and reading a thousand of those makes the heap grow for good. No header holds a line end.
 */
export function unpackHeaders(packed: string): Readonly<Record<string, string>> {
  const parts = packed === '' ? [] : packed.split('\n');
  const pairs: [string, string][] = [];
  for (let i = 0; i < parts.length; i += 2) pairs.push([parts[i] as string, parts[i + 1] as string]);
  return joinHeaders(pairs);
}

/** Values by lower-case name, joined by ", ". Without a prototype: a peer may send a header named `__proto__`. */
export function joinHeaders(pairs: Pairs): Readonly<Record<string, string>> {
  const headers: Record<string, string> = Object.create(null);
  for (const [name, value] of pairs) {
    const earlier = headers[name];
    headers[name] = earlier === undefined ? value : `${earlier}, ${value}`;
  }
  return headers;
}
