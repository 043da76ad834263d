-- A row cannot belong to another tenant than its keys say: in every table the organization comes first, in the columns,
-- the primary key and every unique rule; and every reference to a tenant's row carries it.
begin;
select plan(5);

-- What is global by nature, with the reason. Everything else in public and private is a tenant's.
create temporary table global_table on commit drop as
select name::regclass, reason from (values
  ('public.organizations', 'the tenants themselves'),
  ('private.webhook_settings', 'one row: what the installation allows'),
  ('private.schedules', 'what runs by the clock for the whole installation'),
  ('private.request_limits', 'one row: what a person and an organization may have at once'),
  ('private.tenant_loops', 'what serves all organizations in turns: a row a loop'),
  ('private.schedule_states', 'what became of it'),
  ('private.schedule_runs', 'its history'),
  ('private.reconcile_runs', 'runs over all organizations, counts only'),
  ('private.request_spans', 'ids and times of traces; whose they are is in no row'),
  ('private.span_reader', 'one row: until when they are written'),
  ('private.event_epochs', 'the clusters that the log has lived in'),
  ('private.event_consumers', 'positions of internal readers, each of which reads all organizations'),
  ('private.event_log_floor', 'how far retention has come, for the whole log')
) as v (name, reason);

create temporary table global_unique_index on commit drop as
select name, reason from (values
  ('employees_one_active_organization', 'a user has one active organization at a time'),
  ('api_keys_key_id_key', 'a key is looked up before its organization is known'),
  ('device_token_secrets_token_hash_key', 'a device token is looked up before its organization is known'),
  ('invitation_tokens_token_hash_key', 'a token is looked up before its organization is known'),
  ('stream_tickets_token_hash_key', 'a ticket is looked up before its organization is known')
) as v (name, reason);

create temporary view tenant_table as
select c.oid, c.oid::regclass as name
from pg_catalog.pg_class as c
where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
  and c.relkind in ('r', 'p')
  and not c.relispartition
  and not exists (select from global_table as g where g.name = c.oid);

select is_empty(
  $$
    select t.name, a.attname, a.atttypid::regtype, a.attnotnull
    from tenant_table as t
    left join pg_catalog.pg_attribute as a on a.attrelid = t.oid and a.attnum = 1
    where (a.attname, a.atttypid, a.attnotnull) is distinct from ('organization_id', 'uuid'::regtype::oid, true)
  $$,
  'every tenant table begins with organization_id uuid not null'
);

select is_empty(
  $$
    select t.name
    from tenant_table as t
    where not exists (select from pg_catalog.pg_index as i where i.indrelid = t.oid and i.indisprimary)
  $$,
  'every tenant table has a primary key'
);

select is_empty(
  $$
    select t.name, i.indexrelid::regclass
    from tenant_table as t
    join pg_catalog.pg_index as i on i.indrelid = t.oid and (i.indisunique or i.indisexclusion)
    join pg_catalog.pg_class as c on c.oid = i.indexrelid
    left join pg_catalog.pg_attribute as a on a.attrelid = t.oid and a.attnum = i.indkey[0]
    where a.attname is distinct from 'organization_id'
      and c.relname not in (select g.name from global_unique_index as g)
  $$,
  'every primary key, unique and exclusion rule begins with organization_id'
);

select is_empty(
  $$
    select t.name, k.conname
    from tenant_table as t
    join pg_catalog.pg_constraint as k on k.conrelid = t.oid and k.contype = 'f' and k.conparentid = 0
    cross join lateral (
      select array_agg(own.attname || '=' || other.attname) as pairs
      from unnest(k.conkey, k.confkey) as p (own_number, other_number)
      join pg_catalog.pg_attribute as own on own.attrelid = k.conrelid and own.attnum = p.own_number
      join pg_catalog.pg_attribute as other on other.attrelid = k.confrelid and other.attnum = p.other_number
    ) as c
    where (k.confrelid in (select oid from tenant_table) and not c.pairs @> '{organization_id=organization_id}')
      or (k.confrelid = 'public.organizations'::regclass and c.pairs <> '{organization_id=id}')
  $$,
  'every foreign key to a tenant''s row carries organization_id'
);

select is_empty(
  $$
    select g.name from global_unique_index as g
    where not exists (select from pg_catalog.pg_class as c where c.relname = g.name and c.relkind = 'i')
  $$,
  'the list of global unique rules names none that is gone'
);

select * from finish();
rollback;
