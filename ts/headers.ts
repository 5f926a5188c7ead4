// Header lines of a request, as the engine gives them and as applications read them.

/** Values by lower-case name, joined by ", ". Without a prototype: a peer may send a header named `__proto__`. */
export function joinHeaders(pairs: readonly (readonly [string, string])[]): Readonly<Record<string, string>> {
  const headers: Record<string, string> = Object.create(null);
  for (const [name, value] of pairs) {
    const earlier = headers[name];
    headers[name] = earlier === undefined ? value : `${earlier}, ${value}`;
  }
  return headers;
}
