// The instrument: runs one statement as whoever the connection is, tells what came of it, and undoes it.

import type postgres from 'postgres';
import type { TestDatabase } from '../fixtures/database.ts';
import type { Actor } from './cast.ts';

export type Outcome = {
  /** SQLSTATE; null when it ran. */
  state: string | null;
  message: string | null;
  /** What the statement answered, where it answers. */
  answer: unknown;
  rows: number;
  /** Organizations whose rows the statement wrote, by whatever trigger or definer. */
  touched: string[];
};

export type Probe = { statement: string; answers: boolean };

/** Statements of tests reach the database through these; they belong to the superuser and to no migration. */
export async function installProbe(admin: postgres.Sql, tenantTables: readonly string[]): Promise<void> {
  await admin.unsafe(`
    create schema probe;
    grant usage on schema probe to public;
    create table probe.touched (organization_id uuid, table_name text);
    grant select on probe.touched to public;

    -- Every write to a tenant's row, whoever makes it, leaves its organization here until the probe is undone.
    create function probe.tg_touch() returns trigger language plpgsql security definer set search_path = '' as $$
    declare
      v_row jsonb := case tg_op when 'DELETE' then pg_catalog.to_jsonb(old) else pg_catalog.to_jsonb(new) end;
    begin
      insert into probe.touched values ((v_row ->> tg_argv[0])::uuid, tg_table_name);
      return null;
    end
    $$;

    create function probe.attempt(statement text, answers boolean) returns jsonb language plpgsql set search_path = '' as $$
    declare
      v_answer jsonb;
      v_rows bigint;
      v_touched jsonb;
      v_state text;
      v_message text;
    begin
      begin
        if answers then
          execute statement into v_answer;
        else
          execute statement;
        end if;
        get diagnostics v_rows = row_count;
        select pg_catalog.jsonb_agg(distinct t.organization_id) into v_touched from probe.touched as t;
        raise exception using errcode = 'UNDO0';
      exception
        when others then
          get stacked diagnostics v_state = returned_sqlstate, v_message = message_text;
      end;
      return pg_catalog.jsonb_build_object(
        'state', nullif(v_state, 'UNDO0'), 'message', case when v_state <> 'UNDO0' then v_message end, 'answer', v_answer,
        'rows', coalesce(v_rows, 0), 'touched', coalesce(v_touched, '[]'));
    end
    $$;
    grant execute on function probe.attempt(text, boolean) to public;

    -- This transaction's own counters: other sessions and autovacuum do not count there.
    create function probe.counters() returns jsonb language sql set search_path = '' as $$
      select pg_catalog.jsonb_object_agg(s.schemaname || '.' || s.relname, array[coalesce(s.seq_scan, 0),
        coalesce(s.seq_tup_read, 0), coalesce(s.idx_scan, 0), coalesce(s.idx_tup_fetch, 0), s.n_tup_ins, s.n_tup_upd, s.n_tup_del])
      from pg_catalog.pg_stat_xact_user_tables as s
    $$;
    create function probe.work(statement text) returns text language plpgsql set search_path = '' as $$
    declare
      v_before jsonb := probe.counters();
    begin
      perform probe.attempt(statement, true);
      return (
        select pg_catalog.string_agg(a.key || ' ' || (
          select pg_catalog.string_agg((n.after::text::bigint - (v_before -> a.key ->> (n.i - 1)::integer)::bigint)::text, ',' order by n.i)
          from pg_catalog.jsonb_array_elements(a.value) with ordinality as n (after, i)
        ), ' ' order by a.key)
        from pg_catalog.jsonb_each(probe.counters()) as a
        where a.value is distinct from v_before -> a.key
      );
    end
    $$;
    grant execute on function probe.counters(), probe.work(text) to public;
  `);
  for (const table of tenantTables) {
    const column = table === 'public.organizations' ? 'id' : 'organization_id';
    await admin.unsafe(`create trigger _999_touch after insert or update or delete on ${table}
      for each row execute function probe.tg_touch('${column}')`);
  }
}

/** Runs the statements as the actor: its own login, its role, its claims, one transaction. */
export async function attemptAll(
  database: TestDatabase,
  actor: Actor,
  statements: readonly Probe[],
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  await database.sql(actor.role).begin(async (sql) => {
    await sql`select set_config('request.jwt.claims', ${actor.claims ? JSON.stringify(actor.claims) : ''}, true)`;
    await sql`select set_config('fieldtrack.organization_id', ${actor.kind === 'worker' ? (actor.organizationId ?? '') : ''}, true)`;
    await sql`set local statement_timeout = '60s'`;
    const rows = await sql<{ outcome: Outcome }[]>`
      select probe.attempt(s.statement, s.answers::boolean) as outcome
      from unnest(${statements.map(({ statement }) => statement)}::text[],
        ${statements.map(({ answers }) => `${answers}`)}::text[]) with ordinality as s (statement, answers, n)
      order by s.n`;
    outcomes.push(...rows.map(({ outcome }) => outcome));
  });
  return outcomes;
}

/** The code and status of a registered refusal, which comes as SQLSTATE PGRST. */
export function refusal({ state, message }: Outcome): string | null {
  if (state !== 'PGRST' || message === null) return state;
  return (JSON.parse(message) as { code: string }).code;
}
