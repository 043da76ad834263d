// The edge functions' own paths. What the function api forwards is described with the tables and calls.
import { protocols } from '../../edge-functions/ingest/protocols.ts';
import type { Schema } from './schemas.ts';

const failures = {
  401: { $ref: '#/components/responses/Unauthorized' },
  403: { $ref: '#/components/responses/Forbidden' },
  429: { $ref: '#/components/responses/TooMany' },
  default: { $ref: '#/components/responses/Failure' },
};

const anyJson = { 'application/json': { schema: { type: ['object', 'array', 'null'] } } };

function query(name: string, description: string): Schema {
  return { name, in: 'query', description, schema: { type: 'string' } };
}

/** The token of a device goes where its app has a place for it: here it is a part of the address. */
const deviceToken = {
  name: 'token',
  in: 'path',
  required: true,
  description: 'A device token (create_device_token, my_device_token).',
  schema: { type: 'string', pattern: '^ft_device_[0-9A-Za-z]{43}$' },
};

function ingestPath(name: string): [string, Schema] {
  const post = {
    tags: ['functions'],
    operationId: `ingest_${name}`,
    summary: `Positions as the app sends them (${name})`,
    description:
      'Points of a phone, in the format of its app: docs/edge-functions.md, "A phone". 1 MiB and 1,000 points at most.',
    security: [],
    parameters: [deviceToken],
    requestBody: { required: true, content: anyJson },
    responses: { 200: { description: 'The points are delivered.', content: anyJson }, ...failures },
  };
  return [`/functions/v1/ingest/${name}/{token}`, { post }];
}

export const functionPaths: Record<string, Schema> = {
  '/functions/v1/admin-events': {
    get: {
      tags: ['functions'],
      operationId: 'admin_events',
      summary: 'The live stream: events as they happen, as server-sent events',
      description:
        'docs/live-stream.md. The `data:` of an event is StreamEvent, that of a location message Position, both in ' +
        'events.schema.json. A browser, which can send no header, shows a ticket of create_stream_ticket.',
      security: [{ bearer: [] }, { apiKey: [] }, {}],
      parameters: [
        { name: 'Last-Event-ID', in: 'header', description: 'Go on after this event.', schema: { type: 'string' } },
        query('last_event_id', 'The same, where a header cannot be sent.'),
        query('types', 'Only these types, such as `session.*,expense.submitted`.'),
        query('locations', '`1`: positions too.'),
        query('ticket', 'Instead of a token or a key.'),
      ],
      responses: {
        200: { description: 'The stream.', content: { 'text/event-stream': { schema: { type: 'string' } } } },
        ...failures,
      },
    },
  },
  ...Object.fromEntries(Object.keys(protocols).map(ingestPath)),
  '/functions/v1/api/openapi.json': {
    get: {
      tags: ['functions'],
      operationId: 'openapi',
      summary: 'This description',
      security: [],
      responses: { 200: { description: 'OpenAPI 3.1.', content: anyJson }, ...failures },
    },
  },
};
