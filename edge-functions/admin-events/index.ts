import { z } from 'zod';
import { createKeyVerifier } from '../_shared/api-key.ts';
import { kernelOf, serve } from '../_shared/boot.ts';
import { ask, openDatabase } from '../_shared/database.ts';
import { readEnv } from '../_shared/env.ts';
import { createTokenVerifier } from '../_shared/jwt.ts';
import { createHandler, type Member } from './handler.ts';
import { createHub } from './hub.ts';
import { createLocationFeed, createLocationReader } from './locations.ts';
import { createEventLog } from './log.ts';
import { comparePositions } from './position.ts';

type MemberRow = { organization_id: string; employee_id: string; app_role: string; is_manager: boolean };

const memberOf = (row: MemberRow): Member => ({
  organizationId: row.organization_id,
  employeeId: row.employee_id,
  appRole: row.app_role,
  isManager: row.is_manager,
});

const seconds = z.coerce.number().min(1).max(86_400);

const env = readEnv(Deno.env.toObject(), {
  /** A hosted function is cut off after 150 s; a process of one's own may let streams live for an hour. */
  FIELDTRACK_STREAM_SECONDS: seconds.default(140),
  FIELDTRACK_STREAM_HEARTBEAT_SECONDS: seconds.default(15),
  FIELDTRACK_STREAM_RECHECK_SECONDS: seconds.default(30),
  FIELDTRACK_STREAMS_PER_ORGANIZATION: z.coerce.number().int().min(1).default(50),
});
const { kernel, log: logger, abuse, now } = kernelOf('admin-events', env);
const database = openDatabase({
  url: env.FIELDTRACK_EDGE_DATABASE_URL,
  poolSize: env.FIELDTRACK_EDGE_POOL_SIZE,
  application: 'fieldtrack-admin-events',
});
const log = createEventLog(database);
const hub = createHub({
  log,
  logger,
  now,
  pollMs: 100,
  recheckMs: env.FIELDTRACK_STREAM_RECHECK_SECONDS * 1000,
  maxListenersPerOrganization: env.FIELDTRACK_STREAMS_PER_ORGANIZATION,
  compare: comparePositions,
});

const server = serve(
  createHandler({
    kernel,
    abuse,
    hub,
    log,
    locations: createLocationFeed({ reader: createLocationReader(database), logger, pauseMs: 1000 }),
    verifyToken: createTokenVerifier({
      issuer: env.FIELDTRACK_JWT_ISSUER ?? `${env.SUPABASE_URL}/auth/v1`,
      secret: env.FIELDTRACK_JWT_SECRET,
      jwksUrl: `${env.SUPABASE_URL}/auth/v1/.well-known/jwks.json`,
    }),
    async findMember(context, userId) {
      const [row] = await ask(
        context.log,
        database<MemberRow[]>`
          select m.organization_id, m.employee_id, m.app_role, m.is_manager from private.find_member(${userId}) as m`,
      );
      return row && memberOf(row);
    },
    async useTicket(context, ticketHash) {
      const [row] = await ask(
        context.log,
        database<MemberRow[]>`
          select t.organization_id, t.employee_id, t.app_role, t.is_manager from private.use_stream_ticket(${ticketHash}) as t`,
      );
      return row && memberOf(row);
    },
    verifyKey: createKeyVerifier(database),
    streamMs: env.FIELDTRACK_STREAM_SECONDS * 1000,
    heartbeatMs: env.FIELDTRACK_STREAM_HEARTBEAT_SECONDS * 1000,
    now,
    wallClock: () => Date.now(),
    random: () => Math.random(),
  }),
);

// A process of one's own: streams end cleanly, so that clients resume at once elsewhere. The platform ends hosted functions.
if (Deno.env.get('DENO_SERVE_ADDRESS')) {
  Deno.addSignalListener('SIGTERM', () => {
    hub.stop();
    void server.shutdown().then(() => Deno.exit(0));
  });
}
