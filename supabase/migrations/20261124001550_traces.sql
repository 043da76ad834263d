-- Traces: which one a transaction belongs to, and the request's own span.
--
-- PostgREST makes no spans. So the transaction of a request that was sampled writes its own into a table: begun with the
-- transaction, ended by a deferred trigger when it commits. What the request causes (events, jobs, webhooks) names this span as
-- its parent; the worker fetches the rows and sends them to the collector.
-- Who never asked for traces pays nothing: a row is written only while a worker that has a collector keeps fetching.
-- Not covered: requests that write no event and no job, and those that were refused: what was rolled back left no span either.

create unlogged table private.request_spans (
  id bigint generated always as identity primary key,
  trace_id text not null,
  span_id text not null,
  parent_span_id text not null,
  name text not null,
  started_at timestamptz not null default now(),
  ended_at timestamptz
)
-- The end is written into the row's own page.
with (fillfactor = 50);

alter table private.request_spans enable row level security;

comment on table private.request_spans is
  'Spans of requests that no worker has fetched yet: ids, method and path, times. Unlogged: a span is no evidence.';

-- NOTE: nothing is granted on it: private.current_traceparent writes, private.take_request_spans deletes.

create table private.span_reader (
  is_only_row boolean primary key default true check (is_only_row),
  wanted_until timestamptz not null
);

alter table private.span_reader enable row level security;

comment on table private.span_reader is
  'Until when spans are written: a worker with a collector moves it on while it runs. So nobody switches anything on or off, '
  'and without a reader the table above grows for two minutes at most.';

insert into private.span_reader (wanted_until) values ('epoch');

-- What the request brought, or what the worker's job carries on. Anything malformed counts as none.
create function private.current_traceparent() returns text
language plpgsql volatile
set search_path = ''
as $$
declare
  v_set text := nullif(current_setting('fieldtrack.traceparent', true), '');
  v_traceparent text := coalesce(
    v_set, nullif(current_setting('request.headers', true), '')::json ->> 'traceparent');
  v_method text;
  v_path text;
  v_span_id text;
begin
  if v_traceparent is null
    or v_traceparent !~ '^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$'
  then
    return null;
  end if;
  -- What is set is a span already: the worker's, or the one below. The last bit says whether the trace is recorded.
  if v_set is not null
    or right(v_traceparent, 1) not in ('1', '3', '5', '7', '9', 'b', 'd', 'f')
    or not exists (select from private.span_reader as r where r.wanted_until > now())
  then
    return v_traceparent;
  end if;
  v_method := current_setting('request.method', true);
  v_path := current_setting('request.path', true);
  if (v_method ~ '^[A-Z]+$' and v_path ~ '^/(rpc/)?[a-z0-9_]{1,63}$') is not true then
    return v_traceparent;
  end if;
  v_span_id := encode(extensions.gen_random_bytes(8), 'hex');
  insert into private.request_spans (trace_id, span_id, parent_span_id, name)
  values (substr(v_traceparent, 4, 32), v_span_id, substr(v_traceparent, 37, 16),
    v_method || ' ' || v_path);
  -- Undone with the row where a savepoint is rolled back.
  return set_config('fieldtrack.traceparent',
    format('00-%s-%s-01', substr(v_traceparent, 4, 32), v_span_id), true);
end;
$$;

comment on function private.current_traceparent() is
  'traceparent for what this transaction causes: its own span, the job''s (setting fieldtrack.traceparent) or the request''s '
  '(header); or null. For definers.';

create function private.tg_request_spans__end() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  update private.request_spans as s set ended_at = clock_timestamp() where s.id = new.id;
  return null;
end;
$$;

comment on function private.tg_request_spans__end() is 'When the transaction commits: its span ends.';

create constraint trigger _900_end after insert on private.request_spans
  deferrable initially deferred
  for each row execute function private.tg_request_spans__end();

create function private.take_request_spans(in_max_rows integer)
returns table (trace_id text, span_id text, parent_span_id text, name text, started_us bigint, ended_us bigint)
language plpgsql volatile security definer
set search_path = ''
as $$
begin
  -- Once a minute, not with each call.
  update private.span_reader as r
  set wanted_until = now() + interval '2 minutes'
  where r.is_only_row and r.wanted_until < now() + interval '1 minute';
  return query
  with next as (
    select s.id from private.request_spans as s order by s.id limit in_max_rows for update skip locked
  )
  delete from private.request_spans as s
  using next as n
  where s.id = n.id
  returning s.trace_id, s.span_id, s.parent_span_id, s.name,
    (extract(epoch from s.started_at) * 1000000)::bigint, (extract(epoch from s.ended_at) * 1000000)::bigint;
end;
$$;

comment on function private.take_request_spans(integer) is
  'Hands spans of requests out, once, times in microseconds since 1970; and asks for more for the next two minutes.';

grant execute on function private.take_request_spans(integer) to fieldtrack_worker;

create function private.purge_request_spans(in_max_rows integer default 20000) returns integer
language plpgsql volatile security definer
set search_path = ''
as $$
declare
  v_deleted integer;
begin
  delete from private.request_spans as s
  where s.id in (
    select o.id from private.request_spans as o
    where o.started_at < now() - interval '10 minutes'
    order by o.id
    limit in_max_rows
  );
  get diagnostics v_deleted = row_count;
  return v_deleted;
end;
$$;

comment on function private.purge_request_spans(integer) is
  'Deletes spans that no worker fetched for ten minutes. Run by schedule; returns how many.';
