-- What the planner takes a tenant for. Every policy compares organization_id with a value that is known only when the statement
-- runs, so PostgreSQL counts on the average tenant. Beside thousands of tenants of two people the average has three employees:
-- the people of a tenant of 2,700 were then read anew for each row of a list that embeds them. So the planner is told, as a share
-- of the table, to expect a thousand rows where a person has one, ten thousand where work adds up. A small tenant's lists go by
-- the same indexes and stop where its rows end. ANALYZE reads these settings.
-- Not covered: tables that are read by a key with more than organization_id in it (points by session, figures by day).

alter table public.employees alter column organization_id set (n_distinct = -0.001);
alter table public.employee_latest_sessions alter column organization_id set (n_distinct = -0.001);
alter table public.employee_last_state alter column organization_id set (n_distinct = -0.001);
alter table public.employee_metrics_snapshot alter column organization_id set (n_distinct = -0.001);
alter table public.active_users alter column organization_id set (n_distinct = -0.001);

alter table public.attendance_sessions alter column organization_id set (n_distinct = -0.0001);
alter table public.session_days alter column organization_id set (n_distinct = -0.0001);
alter table public.expenses alter column organization_id set (n_distinct = -0.0001);
alter table public.pending_expenses alter column organization_id set (n_distinct = -0.0001);
alter table public.employee_daily_metrics alter column organization_id set (n_distinct = -0.0001);
alter table public.employee_monthly_metrics alter column organization_id set (n_distinct = -0.0001);
alter table public.audit_log alter column organization_id set (n_distinct = -0.0001);
alter table public.webhook_deliveries alter column organization_id set (n_distinct = -0.0001);

-- And that a session's id tells whose it is, and a person's id the tenant. Taken for independent, a person's sessions of a tenant
-- look like one row among many tenants, as a session by its key does, and the key of each point that comes was looked up
-- among all sessions of its person (in a tree of ranges, smaller than that of the key).
create statistics public.attendance_sessions_owner (dependencies)
on organization_id, employee_id, id from public.attendance_sessions;

comment on statistics public.attendance_sessions_owner is
  'For the planner: id determines employee_id and both of them organization_id.';
