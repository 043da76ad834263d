import { randomUUID } from 'node:crypto';
import { createServer as createTlsServer, type Server } from 'node:https';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Webhook } from 'standardwebhooks';
import { buildConnector } from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isPublicAddress } from '../../worker/webhooks/addresses.ts';
import { type Network, realNetwork } from '../../worker/webhooks/connect.ts';
import type { ClaimedDelivery } from '../../worker/webhooks/delivery.ts';
import { createSender, retryAfterSeconds, type Sender } from '../../worker/webhooks/send.ts';
import { certificateOfAddress, certificateOfName, testKey } from '../fixtures/certificates.ts';
import { createTestDatabase, type TestDatabase } from '../fixtures/database.ts';
import { type Receiver, startReceiver } from '../fixtures/receiver.ts';

const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
const otherSecret = `whsec_${Buffer.alloc(32, 9).toString('base64')}`;

let receiver: Receiver;
beforeAll(async () => {
  receiver = await startReceiver();
});
afterAll(() => receiver?.stop());

const senders: Sender[] = [];
afterEach(async () => {
  receiver.answers.clear();
  await Promise.all(senders.splice(0).map((sender) => sender.close()));
});

/** Impatient, so that a test of patience is short. */
function sender(network: Network = realNetwork, timeoutMs = 500): Sender {
  const made = createSender(network, { timeoutMs });
  senders.push(made);
  return made;
}

function delivery(url: string, changes: Partial<ClaimedDelivery> = {}): ClaimedDelivery {
  return {
    organization_id: randomUUID(),
    delivery_id: randomUUID(),
    webhook_id: randomUUID(),
    lease: randomUUID(),
    attempt: 1,
    claimed_at_s: Math.floor(Date.now() / 1000),
    url,
    body: '{"type":"webhook.test","timestamp":"2026-11-24T08:00:00.000000Z","data":{"amount": 24.90}}',
    secrets: [secret],
    traceparent: null,
    allow_localhost: true,
    ...changes,
  };
}

describe('what is sent', () => {
  test('both secrets of a rotation sign the exact bytes, each verifies alone, and the trace goes along', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const sent = delivery(`${receiver.url}/rotated`, { secrets: [otherSecret, secret], traceparent });
    expect(await sender().send(sent)).toMatchObject({ status: 204, error: null, response: null });
    const request = receiver.received.at(-1);
    expect(request?.body).toBe(sent.body);
    expect(request?.headers['webhook-id']).toBe(sent.delivery_id);
    expect(request?.headers.traceparent).toBe(traceparent);
    for (const one of [secret, otherSecret]) {
      expect(new Webhook(one).verify(sent.body, request?.headers ?? {})).toMatchObject({ type: 'webhook.test' });
    }
    const third = new Webhook(`whsec_${Buffer.alloc(32, 1).toString('base64')}`);
    expect(() => third.verify(sent.body, request?.headers ?? {})).toThrow('No matching signature found');
    expect(() => new Webhook(secret).verify(`${sent.body} `, request?.headers ?? {})).toThrow();
  });
});

describe('a hostile receiver', () => {
  test('hangs: given up after the time for all of it', async () => {
    receiver.answers.set('/hangs', () => {});
    const outcome = await sender().send(delivery(`${receiver.url}/hangs`));
    expect(outcome).toMatchObject({ status: null, error: 'timeout' });
    expect(outcome.duration_ms).toBeLessThan(1500);
  });

  test('drips a byte at a time: the same clock counts, and a good status does not save it', async () => {
    receiver.answers.set('/drips', (_request, response) => {
      response.writeHead(200);
      const drip = setInterval(() => response.write('.'), 50);
      response.on('close', () => clearInterval(drip));
    });
    const outcome = await sender().send(delivery(`${receiver.url}/drips`));
    expect(outcome).toMatchObject({ status: 200, error: 'timeout' });
    expect(outcome.duration_ms).toBeLessThan(1500);
  });

  test('redirects to the metadata service: not followed, a failure', async () => {
    const dialled: string[] = [];
    const watched: Network = {
      resolve: realNetwork.resolve,
      connect: (options, callback) => {
        dialled.push(options.hostname);
        realNetwork.connect(options, callback);
      },
    };
    receiver.answers.set('/redirects', (_request, response) => {
      response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data/' }).end();
    });
    const outcome = await sender(watched).send(delivery(`${receiver.url}/redirects`));
    expect(outcome).toMatchObject({ status: 302, error: 'redirect' });
    expect(dialled).toEqual(['127.0.0.1']);
  });

  test('answers ten megabytes: 64 KiB are read, 4 KiB kept, and its status counts', async () => {
    let wrote = 0;
    receiver.answers.set('/huge', (_request, response, message) => {
      response.writeHead(200);
      const more = () => {
        while (wrote < 10_000_000 && !response.destroyed) {
          wrote += 16_384;
          if (!response.write(Buffer.alloc(16_384, 'x'))) {
            response.once('drain', more);
            return;
          }
        }
        response.end();
      };
      message.socket.setNoDelay(true);
      more();
    });
    const outcome = await sender(realNetwork, 5000).send(delivery(`${receiver.url}/huge`));
    expect(outcome).toMatchObject({ status: 200, error: null, response: 'x'.repeat(4096) });
    // The rest lies in the kernels' buffers at most.
    expect(wrote).toBeLessThan(9_000_000);
  });

  test('closes in the middle of its answer: a failure with the status it gave', async () => {
    receiver.answers.set('/closes', (_request, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('half');
      setTimeout(() => response.destroy(), 20);
    });
    const outcome = await sender().send(delivery(`${receiver.url}/closes`));
    expect(outcome).toMatchObject({ status: 200, error: 'closed', response: 'half' });
  });

  test('closes without a word, or is not there: a failure of the connection', async () => {
    receiver.answers.set('/silent', (_request, response) => response.destroy());
    expect(await sender().send(delivery(`${receiver.url}/silent`))).toMatchObject({ error: 'connection' });
    const gone = await startReceiver();
    await gone.stop();
    expect(await sender().send(delivery(gone.url))).toMatchObject({ status: null, error: 'connection' });
  });

  test('speaks no TLS on an https address: a failure of TLS', async () => {
    const url = receiver.url.replace('http:', 'https:');
    expect(await sender().send(delivery(url))).toMatchObject({ status: null, error: 'tls' });
  });

  test('answers bytes that are no text: kept as text that PostgreSQL takes', async () => {
    receiver.answers.set('/bytes', (_request, response) => {
      response.writeHead(500).end(Buffer.from([0x61, 0x00, 0xff, 0xed, 0xa0, 0x80]));
    });
    const outcome = await sender().send(delivery(`${receiver.url}/bytes`));
    expect(outcome).toMatchObject({ status: 500, error: 'status' });
    expect(outcome.response).toMatch(/^a\uFFFD+$/);
  });

  test.each([
    ['7', 7],
    ['Wed, 25 Nov 2026 08:00:30 GMT', 30],
    ['Wed, 25 Nov 2026 07:00:00 GMT', 0],
    ['soon', null],
    ['-5', null],
  ])('Retry-After %s is %s seconds', (value, seconds) => {
    expect(retryAfterSeconds(value, Date.parse('2026-11-25T08:00:00Z'))).toBe(seconds);
  });

  test('Retry-After is told with a failure', async () => {
    receiver.answers.set('/busy', (_request, response) => {
      response.writeHead(429, { 'retry-after': '120' }).end();
    });
    const outcome = await sender().send(delivery(`${receiver.url}/busy`));
    expect(outcome).toMatchObject({ status: 429, error: 'status', retry_after_s: 120 });
  });
});

// Nothing here is ever dialled: the connector of these tests fails the test when it is called.
const special = [
  '0.0.0.0',
  '10.0.0.1',
  '100.64.0.1',
  '127.0.0.1',
  '127.255.255.254',
  '169.254.169.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.8',
  '192.0.2.1',
  '192.31.196.1',
  '192.52.193.1',
  '192.88.99.1',
  '192.168.1.1',
  '192.175.48.1',
  '198.18.0.1',
  '198.51.100.1',
  '203.0.113.1',
  '224.0.0.1',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::7f00:1',
  '::ffff:127.0.0.1',
  '::ffff:10.0.0.1',
  '::ffff:0:7f00:1',
  '64:ff9b::7f00:1',
  '64:ff9b:1::a9fe:a9fe',
  '100::1',
  '2001::1',
  '2001:2::1',
  '2001:10::1',
  '2001:20::1',
  '2001:db8::1',
  '2002:7f00:1::',
  '2620:4f:8000::1',
  '3fff::1',
  '5f00::1',
  'fc00::1',
  'fd12:3456::1',
  'fe80::1',
  'fec0::1',
  'ff02::1',
  '4000::1',
];
const ordinary = ['1.1.1.1', '93.184.215.14', '172.32.0.1', '100.128.0.1', '198.20.0.1', '2606:4700::1111', '2a00::1'];

describe('addresses', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
  });
  afterAll(() => database?.drop());

  test('what is special is refused, here and in SQL alike', async () => {
    expect(special.filter(isPublicAddress)).toEqual([]);
    expect(ordinary.filter((address) => !isPublicAddress(address))).toEqual([]);
    const rows = await database.sql('postgres')<{ address: string; is_public: boolean }[]>`
      select a as address, private.is_public_address(a::inet) as is_public
      from unnest(${[...special, ...ordinary]}::text[]) as a`;
    for (const { address, is_public } of rows)
      expect({ address, is_public }).toEqual({ address, is_public: isPublicAddress(address) });
  });

  const untouchable = (addresses: Record<string, string[]>): { network: Network; dialled: string[] } => {
    const dialled: string[] = [];
    return {
      dialled,
      network: {
        resolve: async (name) => addresses[name] ?? [],
        connect: ({ hostname }, callback) => {
          dialled.push(hostname);
          callback(new Error('this must not be dialled'), null);
        },
      },
    };
  };

  test('a name that resolves to a special address is not connected to, also when it has a good one besides', async () => {
    for (const address of special) {
      for (const answer of [[address], ['93.184.215.14', address]]) {
        const { network, dialled } = untouchable({ 'hooks.example.test': answer });
        for (const allow_localhost of [false, true]) {
          const outcome = await sender(network).send(delivery('https://hooks.example.test/', { allow_localhost }));
          expect({ answer, ...outcome }).toMatchObject({ answer, status: null, error: 'address_refused' });
        }
        expect(dialled).toEqual([]);
      }
    }
  });

  test('a literal address in any spelling is not resolved and not connected to', async () => {
    const { network, dialled } = untouchable({});
    const literals = [...special.map((address) => (address.includes(':') ? `[${address}]` : address))];
    literals.push('2130706433', '0x7f.1', '0177.0.0.1', '127.1', '[::ffff:7f00:1]');
    for (const literal of literals) {
      const outcome = await sender(network).send(delivery(`https://${literal}/`, { allow_localhost: false }));
      expect({ literal, ...outcome }).toMatchObject({ literal, error: 'address_refused' });
    }
    expect(dialled).toEqual([]);
  });

  test('localhost is this machine only where the installation allows it, and then nothing else', async () => {
    const refused = untouchable({ localhost: ['127.0.0.1'] });
    const url = 'http://localhost:8080/';
    const closed = await sender(refused.network).send(delivery(url, { allow_localhost: false }));
    expect(closed.error).toBe('address_refused');
    const lied = untouchable({ localhost: ['10.0.0.1'] });
    expect((await sender(lied.network).send(delivery(url))).error).toBe('address_refused');
    expect([...refused.dialled, ...lied.dialled]).toEqual([]);
  });

  test('a name that resolves elsewhere the second time: what was checked is connected to, then it is refused', async () => {
    const port = Number(new URL(receiver.url).port);
    const dialled: { hostname: string; servername: string | undefined }[] = [];
    let asked = 0;
    const rebinding: Network = {
      // A public address for the check, this machine for the connection: the trick that asks twice falls for.
      resolve: async () => {
        asked += 1;
        return asked === 1 ? ['93.184.215.14'] : ['127.0.0.1'];
      },
      connect: ({ hostname, servername }, callback) => {
        dialled.push({ hostname, servername });
        const socket = connectTcp(port, '127.0.0.1', () => callback(null, socket));
        return socket;
      },
    };
    const one = sender(rebinding);
    receiver.answers.set('*', (_request, response) => {
      response.writeHead(204, { connection: 'close' }).end();
    });
    const first = await one.send(delivery('https://rebinding.example.test/', { allow_localhost: false }));
    expect(first).toMatchObject({ status: 204, error: null });
    expect(asked).toBe(1);
    expect(dialled).toEqual([{ hostname: '93.184.215.14', servername: 'rebinding.example.test' }]);
    const second = await one.send(delivery('https://rebinding.example.test/', { allow_localhost: false }));
    expect(second).toMatchObject({ status: null, error: 'address_refused' });
    expect(dialled).toHaveLength(1);
  });

  test('a name that does not resolve is told so', async () => {
    const network: Network = {
      resolve: () => Promise.reject(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' })),
      connect: untouchable({}).network.connect,
    };
    expect(await sender(network).send(delivery('https://nowhere.example.test/'))).toMatchObject({
      error: 'dns',
    });
  });

  test('a resolver that hangs is held to the same clock', async () => {
    const network: Network = { resolve: () => new Promise(() => {}), connect: untouchable({}).network.connect };
    const outcome = await sender(network).send(delivery('https://slow.example.test/'));
    expect(outcome).toMatchObject({ status: null, error: 'timeout' });
  });
});

// The names resolve to a public address that nobody dials: the connector goes to 127.0.0.1, with all else that it was told.
describe('TLS', () => {
  let server: Server;
  let seen: { sni: string | false | null | undefined; host: string | undefined; body: string }[] = [];
  let certificate = certificateOfName;
  beforeAll(async () => {
    server = createTlsServer({ key: testKey, cert: certificateOfName }, async (request, response) => {
      const body = Buffer.concat(await request.toArray()).toString();
      seen.push({ sni: (request.socket as TLSSocket).servername, host: request.headers.host, body });
      response.writeHead(204, { connection: 'close' }).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => {
    seen = [];
  });
  afterAll(() => server?.close());

  function send(url: string, options: { presents: string; trusts?: string }) {
    if (certificate !== options.presents) server.setSecureContext({ key: testKey, cert: options.presents });
    certificate = options.presents;
    const connect = buildConnector({ allowH2: false, ...(options.trusts ? { ca: options.trusts } : {}) });
    const port = String((server.address() as AddressInfo).port);
    const network: Network = {
      resolve: async () => ['93.184.215.14'],
      connect: (told, callback) => {
        expect(told.hostname).toBe('93.184.215.14');
        connect({ ...told, hostname: '127.0.0.1', port }, callback);
      },
    };
    return sender(network, 5000).send(delivery(url, { allow_localhost: false }));
  }

  test('the name of the URL and an authority that is trusted: delivered, and the name is asked for (SNI)', async () => {
    const outcome = await send('https://hooks.example.test/', {
      presents: certificateOfName,
      trusts: certificateOfName,
    });
    expect(outcome).toMatchObject({ status: 204, error: null });
    expect(seen).toMatchObject([{ sni: 'hooks.example.test', host: 'hooks.example.test' }]);
  });

  test.each([
    ['of another name', 'https://other.example.test/', certificateOfName, certificateOfName],
    [
      'of the address that the name resolved to',
      'https://hooks.example.test/',
      certificateOfAddress,
      certificateOfAddress,
    ],
    ['of the name, signed by nobody who is trusted', 'https://hooks.example.test/', certificateOfName, undefined],
  ])('a certificate %s: a failure of TLS, and nothing was said', async (_, url, presents, trusts) => {
    const outcome = await send(url, { presents, ...(trusts ? { trusts } : {}) });
    expect(outcome).toMatchObject({ status: null, error: 'tls' });
    expect(seen).toEqual([]);
  });

  test('where the URL has an address (here that of an own machine), the certificate is of the address', async () => {
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const trusting = (ca: string): Network => ({
      resolve: () => Promise.reject(new Error('an address needs no resolver')),
      connect: buildConnector({ allowH2: false, ca }),
    });
    server.setSecureContext({ key: testKey, cert: certificateOfName });
    expect(await sender(trusting(certificateOfName), 5000).send(delivery(url))).toMatchObject({ error: 'tls' });
    certificate = certificateOfAddress;
    server.setSecureContext({ key: testKey, cert: certificate });
    const outcome = await sender(trusting(certificateOfAddress), 5000).send(delivery(url));
    expect(outcome).toMatchObject({ status: 204, error: null });
    expect(seen).toMatchObject([{ sni: false }]);
  });
});
