// The certificate of servers that tests start.
import { generate } from 'selfsigned';

/** A certificate for 127.0.0.1, made once. */
export const pem = await generate([{ name: 'commonName', value: 'localhost' }], {
  keySize: 2048,
  algorithm: 'sha256',
  extensions: [
    { name: 'basicConstraints', cA: false },
    {
      name: 'subjectAltName',
      altNames: [
        { type: 2, value: 'localhost' },
        { type: 7, ip: '127.0.0.1' },
      ],
    },
  ],
}).then(({ cert, private: key }) => ({ cert, key }));
