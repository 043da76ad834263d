-- A transaction of a request that is traced writes its span once, and only while a worker fetches spans.
begin;
select plan(14);

create function pg_temp.begin_request(flags text) returns void language sql as $$
  select set_config('fieldtrack.traceparent', '', true),
    set_config('request.method', 'POST', true),
    set_config('request.path', '/rpc/check_in', true),
    set_config('request.headers',
      json_build_object('traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-' || flags)::text, true);
$$;

create function pg_temp.brought(flags text) returns text language sql as $$
  select '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-' || flags;
$$;

select pg_temp.begin_request('01');
select is(private.current_traceparent(), pg_temp.brought('01'), 'while nobody reads, the trace is handed on as it came');
select is_empty($$select from private.request_spans$$, 'and nothing is written');

select is_empty($$select * from private.take_request_spans(10)$$, 'a worker asks: there is nothing yet');

select pg_temp.begin_request('00');
select is(private.current_traceparent(), pg_temp.brought('00'), 'a trace that is not recorded is handed on');
select is_empty($$select from private.request_spans$$, 'and nothing is written');

select pg_temp.begin_request('01');
select set_config('request.path', '/rpc/check_in?at=46.05', true);
select is(private.current_traceparent(), pg_temp.brought('01'), 'a path that is no name of ours makes no span');

select pg_temp.begin_request('01');
do $$
begin
  perform private.current_traceparent();
  raise exception using errcode = 'TE000';
exception
  when sqlstate 'TE000' then null;
end
$$;
select is_empty($$select from private.request_spans$$, 'what is rolled back leaves none');
select is(current_setting('fieldtrack.traceparent', true), '', 'nor is it anybody''s parent');

create temporary table first on commit drop as select private.current_traceparent() as traceparent;
select matches(traceparent, '^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$',
  'it belongs to the caller''s trace') from first;
select is(private.current_traceparent(), traceparent, 'a transaction is one span, however much it causes') from first;

set constraints all immediate;
select results_eq(
  $$
    select trace_id, '00-' || trace_id || '-' || span_id || '-01', parent_span_id, name, ended_us >= started_us
    from private.take_request_spans(10)
  $$,
  $$
    select '0af7651916cd43dd8448eb211c80319c', traceparent, 'b7ad6b7169203331', 'POST /rpc/check_in', true
    from first
  $$,
  'the worker gets it with its end'
);
select is_empty($$select * from private.take_request_spans(10)$$, 'once');

insert into private.request_spans (trace_id, span_id, parent_span_id, name, started_at) values
  ('', '', '', 'old', now() - interval '11 minutes'),
  ('', '', '', 'new', now() - interval '9 minutes');
select is(private.purge_request_spans(), 1, 'what nobody fetched for ten minutes goes');
select results_eq($$select name from private.request_spans$$, $$values ('new')$$, 'and nothing else');

select * from finish();
rollback;
