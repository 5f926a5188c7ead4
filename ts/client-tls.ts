// The option `tls` of everything that connects. Does not parse certificates or keys; the engine does.

import { boolean, checkNames, given, string } from './options.js';
import { type Pem, pemText } from './pem.js';
import type { NativeTlsClient } from './port.js';

/** How a client checks its server, and what it shows of itself. */
export interface ClientTlsOptions {
  /** Authorities to trust instead of the system's. */
  readonly ca?: Pem;
  /** Certificate that the server may ask for; with `key`. */
  readonly cert?: Pem;
  /** Its private key. */
  readonly key?: Pem;
  /** Name to expect in the certificate, when it is not the URL's. */
  readonly serverName?: string;
  /** Accept any certificate: for tests only. Default false. */
  readonly insecure?: boolean;
}

export function readTls(tls: ClientTlsOptions): NativeTlsClient {
  checkNames(tls, ['ca', 'cert', 'key', 'serverName', 'insecure'], 'tls');
  return given({
    ca: pemText('tls.ca', tls.ca),
    cert: pemText('tls.cert', tls.cert),
    key: pemText('tls.key', tls.key),
    serverName: string('serverName', tls.serverName),
    insecure: boolean('insecure', tls.insecure),
  });
}
