import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { buildConnector } from 'undici';
import { isLoopbackAddress, isPublicAddress } from './addresses.ts';

const connectTimeoutMs = 5000;
/** A name that nobody answers for; each of two tries gets half of it. */
const resolveTimeoutMs = 4000;

/** What reaches the network, so that a test can show that nothing did. */
export interface Network {
  /** All addresses of a name. */
  resolve(hostname: string): Promise<string[]>;
  /** Connects to an address; `hostname` is one by then, never a name. */
  connect: buildConnector.connector;
}

export const realNetwork: Network = {
  resolve: resolveName,
  connect: buildConnector({ timeout: connectTimeoutMs, allowH2: false }),
};

/**
 * Asks by c-ares, each name by a resolver of its own, which is cancelled when its time is over. Node's lookup() asks in libuv's four
 * threads, two at a time, and cannot be cancelled: twenty names that nobody answers for stopped everybody's webhooks for a minute
 * and a half.
 */
async function resolveName(hostname: string): Promise<string[]> {
  // The one name that no server answers for; it is connected to only where the installation allows it.
  if (hostname === 'localhost') return ['127.0.0.1'];
  const resolver = new Resolver({ timeout: resolveTimeoutMs / 2, tries: 2 });
  const clock = setTimeout(() => resolver.cancel(), resolveTimeoutMs);
  try {
    const answers = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    const [failure] = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason as unknown] : []));
    // A name may have addresses of one kind only.
    if (addresses.length === 0) throw failure;
    return addresses;
  } finally {
    clearTimeout(clock);
  }
}

export class AddressRefusedError extends Error {
  readonly code = 'ADDRESS_REFUSED';

  constructor() {
    super('The host is not on the public network.');
  }
}

/**
 * Resolves the name once, checks every address it has, and connects to the first: what was checked is what is connected to, and
 * a name that answers otherwise the second time is not asked a second time. One bad address among good ones refuses all.
 */
export function guardedConnector(network: Network, reach: 'public' | 'loopback'): buildConnector.connector {
  const isAllowed = reach === 'public' ? isPublicAddress : isLoopbackAddress;

  async function addressOf(hostname: string): Promise<string> {
    const bare = hostname.replace(/^\[(.*)\]$/, '$1');
    const addresses = isIP(bare) ? [bare] : await network.resolve(bare);
    const [first] = addresses;
    if (first === undefined || !addresses.every(isAllowed)) throw new AddressRefusedError();
    return first;
  }

  return (options, callback) => {
    addressOf(options.hostname).then(
      (address) => {
        // The certificate must be the name's, not the address's.
        const servername = isIP(options.hostname) ? options.servername : (options.servername ?? options.hostname);
        network.connect({ ...options, hostname: address, ...(servername ? { servername } : {}) }, callback);
      },
      (error: unknown) => callback(error instanceof Error ? error : new Error('resolver failed'), null),
    );
  };
}
