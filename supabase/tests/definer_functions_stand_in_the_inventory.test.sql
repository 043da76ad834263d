-- A definer goes around row level security, so each one is listed: who may call it, why it is one, and what bounds it.
-- `callers` is compared with the grants. `bound` is organization (the body names organization_id), user (it reads only
-- rows of the caller's own user id, or calls one that does), operator (no tenant's data) or all organizations (it serves them
-- all at once, and says how each keeps to its own).
begin;
select plan(6);

create temporary table inventory on commit drop as
select name::regprocedure, callers, bound, why_and_boundary from (values
  ('private.current_organization_id()', 'api_key,authenticated,service_role', 'user',
    'Policies ask it, that of employees too: as invoker it would recurse. Reads the active row of the token''s user.'),
  ('private.current_employee_id()', 'authenticated,service_role', 'user', 'As current_organization_id.'),
  ('private.admin_organization_id()', 'authenticated,service_role', 'user', 'As current_organization_id.'),
  ('private.is_admin()', 'authenticated,service_role', 'user', 'As current_organization_id.'),
  ('private.require_employee()', 'authenticated', 'user',
    'First line of RPC bodies, and of invoker reads: the caller''s own row or a refusal.'),
  ('private.require_admin(text)', 'api_key,authenticated', 'user', 'As require_employee, for administrators and keys.'),
  ('private.current_api_key()', 'api_key', 'organization',
    'Policies ask it. Reads the one key of the token, by its organization and id, if it is still valid.'),
  ('private.current_actor()', 'api_key,authenticated,fieldtrack_worker,service_role', 'user',
    'Triggers ask it under any role. Reads the token and the caller''s own row.'),
  ('private.receipt_digests(text[])', null, 'operator', 'Called by definers with paths of the caller''s own; reads what Storage calls them.'),
  ('private.claims_with_receipt(uuid, uuid, text[], text[])', null, 'organization', 'Called by definers with a claim of that organization.'),
  ('private.hold_expense(uuid, uuid)', null, 'organization', 'Called by definers behind require_employee or require_admin.'),
  ('private.audit_expense(text, public.expenses, public.expenses, text)', null, 'organization',
    'Called by definers with a claim that they changed.'),
  ('private.changed_claim(public.expenses, jsonb)', null, 'organization', 'Called by change_own_expense with the claim that it holds.'),
  ('private.change_own_expense(uuid, jsonb, boolean)', 'authenticated', 'organization',
    'Nobody may update expenses. Behind require_employee: the own claim.'),
  ('private.reopen_expense(uuid, text)', 'authenticated', 'organization',
    'Nobody may update expenses. Behind require_admin, in that organization.'),
  ('private.pay_expenses(uuid[], text, text, boolean)', 'authenticated', 'organization', 'As reopen_expense.'),
  ('private.waiting_expenses(uuid)', 'api_key,authenticated', 'organization',
    'Who may read the summary reads names in it; compares the organization with require_admin''s.'),
  ('private.may_review(uuid, uuid)', 'api_key,authenticated,service_role', 'organization',
    'Says true or false of rows that the caller reads; of another organization''s false.'),
  ('private.is_same_person(private.caller, uuid)', null, 'organization',
    'Called by definers behind require_admin, for that caller''s organization.'),
  ('private.judge_own_expense(private.caller, public.expenses)', null, 'organization',
    'Called by definers behind require_admin, with a row of that organization.'),
  ('private.issue_api_key(uuid, text, text[], timestamptz, integer, uuid)', null, 'organization',
    'Called by definers behind require_admin, for that organization.'),
  ('private.create_api_key(text, text[], timestamptz, integer)', 'authenticated', 'organization',
    'Nobody may insert keys. Behind require_admin with no scope: no key makes one.'),
  ('private.rotate_api_key(uuid, integer)', 'authenticated', 'organization',
    'Nobody may write keys. Behind require_admin with no scope, in that organization.'),
  ('private.revoke_api_key(uuid)', 'authenticated', 'organization',
    'Nobody may write keys. Behind require_admin with no scope, in that organization.'),
  ('private.verify_api_key(text, bytea, integer)', 'fieldtrack_edge', 'organization',
    'The hash of the secret decides which key, and so which organization; hashes and limits are granted to nobody.'),
  ('private.issue_device_token(uuid, uuid, text, uuid)', null, 'organization',
    'Called by definers that know whose token it is to be.'),
  ('private.create_device_token(uuid, text)', 'authenticated', 'organization',
    'Nobody may insert device tokens. Behind require_admin, for an employee of that organization.'),
  ('private.my_device_token(text)', 'authenticated', 'organization',
    'Nobody may insert device tokens. Behind require_employee, for that employee.'),
  ('private.revoke_device_token(uuid)', 'authenticated', 'organization',
    'Nobody may update device tokens. Behind require_employee: the own, or an administrator''s organization''s.'),
  ('private.ingest_locations(bytea, jsonb, jsonb, text, text, jsonb)', 'fieldtrack_edge', 'organization',
    'The hash of the token decides which device, and so which employee of which organization.'),
  ('private.custom_access_token_hook(jsonb)', 'supabase_auth_admin', 'user',
    'Auth reads the row of the user it makes a token for and has no policy of its own on employees.'),
  ('private.create_organization(text, text, text, text)', 'authenticated', 'organization',
    'Nobody may insert organizations. The new tenant and its first row are made from the caller''s user id.'),
  ('private.find_or_make_invited(private.caller, text, text, text, text, text, uuid)', null, 'organization',
    'Called by invite_employee behind require_admin, in that caller''s organization.'),
  ('private.create_employee(text, text, text)', 'api_key,authenticated', 'organization',
    'Nobody may insert employees. Behind require_admin, in that row''s organization.'),
  ('private.end_employment(public.employees, text, text)', null, 'organization',
    'Called by definers that hold the row and have judged whether the employment may end.'),
  ('private.leave_organization()', 'authenticated', 'organization',
    'Nobody may update employees. Behind require_employee, for that row.'),
  ('private.never_came(uuid, uuid)', null, 'organization', 'Called by definers with a row of that organization.'),
  ('private.erase_employment(uuid, uuid)', null, 'organization', 'Called by definers that have judged whom to erase.'),
  ('private.rows_about_person(uuid, uuid[])', null, 'organization',
    'Called by export_employee_data for ids of one person of that organization.'),
  ('private.acts_about_person(uuid, uuid[])', null, 'organization', 'As rows_about_person.'),
  ('private.rows_of_person(uuid, uuid)', null, 'organization',
    'Called by definers with an organization; of auth.users it reads the addresses of that organization''s accounts.'),
  ('private.invite_employee(text, text, text, text, text, uuid)', 'api_key,authenticated', 'organization',
    'Nobody may insert employees or invitations. Behind require_admin, in that row''s organization.'),
  ('private.accept_invitation(text)', 'authenticated', 'organization',
    'The caller is in no organization yet. The hash of the secret token and the user''s e-mail address decide which.'),
  ('private.accepted_time(uuid, timestamptz)', null, 'organization',
    'Called by definers for the organization they act in; reads its settings.'),
  ('private.check_in(timestamptz, uuid, double precision, double precision, real)', 'authenticated', 'organization',
    'Nobody may insert sessions. Behind require_employee, for that row''s organization and employee.'),
  ('private.check_out(timestamptz, uuid, double precision, double precision, real)', 'authenticated', 'organization',
    'Nobody may update sessions. Behind require_employee, for that row''s organization and employee.'),
  ('private.record_locations(uuid, uuid, jsonb, boolean)', 'api_key,authenticated', 'organization',
    'Nobody may insert points. Behind require_employee: the caller''s own session; behind require_admin:
     one of the key''s organization.'),
  ('private.insert_locations(uuid, uuid, uuid, jsonb, boolean)', null, 'organization',
    'Called by definers that have established whose session it is.'),
  ('private.tg_organizations__keep_time_zones()', null, 'organization',
    'Trigger: writes the history of the organization in new.'),
  ('private.tg_employees__make_code()', null, 'organization',
    'Trigger: counts in the organization of new; the counters are granted to nobody.'),
  ('private.take_token(uuid, text, uuid)', null, 'organization',
    'Called by definers once the caller is known; the buckets are granted to nobody.'),
  ('private.is_receipt_uploaded(uuid, text)', 'api_key,authenticated,service_role', 'organization',
    'A key that reviews claims may not read Storage; the public field passes the path of a claim that the caller may read.'),
  ('private.create_receipt_path(text, text)', 'authenticated', 'organization',
    'Counts against the caller''s limit. Behind require_employee; the path is the caller''s own.'),
  ('private.submit_expense(numeric, text, uuid, text, text, date, text, text[])', 'authenticated', 'organization',
    'Nobody may insert expenses. Behind require_employee, for that row''s organization and employee.'),
  ('private.review_expense(uuid, text, numeric, text)', 'api_key,authenticated', 'organization',
    'Nobody may update expenses. Behind require_admin, in that row''s organization.'),
  ('private.refuse_settled_session(public.attendance_sessions)', null, 'organization',
    'Called by definers with a row they locked; reads the settings of its organization.'),
  ('private.close_session(uuid, uuid, timestamptz, text, text, text)', null, 'organization',
    'Called by definers for an employee of the organization they act in.'),
  ('private.force_check_out(uuid, timestamptz, text)', 'authenticated', 'organization',
    'Nobody may update sessions. Behind require_admin, in that row''s organization.'),
  ('private.correct_session(uuid, timestamptz, timestamptz, text)', 'authenticated', 'organization',
    'Nobody may update sessions. Behind require_admin, in that row''s organization.'),
  ('private.recalculate_session(uuid)', 'authenticated', 'organization',
    'Puts a job into the queue, which clients cannot name. Behind require_employee: the own session, or an administrator''s
     organization''s.'),
  ('private.close_forgotten_sessions()', null, 'all organizations',
    'Schedule over all tenants, by operators only; hands each session on with its own organization.'),
  ('private.require_another_admin(uuid, uuid)', null, 'organization',
    'Called by definers behind require_admin; looks at the administrators of that organization.'),
  ('private.update_employee(uuid, jsonb)', 'api_key,authenticated', 'organization',
    'Nobody may update employees. Behind require_admin, in that row''s organization.'),
  ('private.set_employee_active(uuid, boolean)', 'api_key,authenticated', 'organization',
    'Nobody may update employees. Behind require_admin, in that row''s organization.'),
  ('private.update_organization(jsonb)', 'authenticated', 'organization',
    'Nobody may update organizations. Behind require_admin; the row is that of the administrator.'),
  ('private.hold_employee(uuid, uuid)', 'fieldtrack_worker', 'organization',
    'Locking a row needs a right to change it, which the worker has not. Answers whether there is such a person.'),
  ('private.request_days_in_another_currency(uuid, date)', 'fieldtrack_worker', 'organization',
    'The worker may name no queue. Locks days of people of that organization and asks for their figures, nothing else.'),
  ('private.tg_organizations__request_figures()', null, 'organization',
    'Asks for figures of the organization whose currency changed.'),
  ('private.request_organization_day(uuid, date)', 'fieldtrack_worker', 'organization',
    'The worker may name no queue. Locks the day of that organization and asks for its figures, nothing else.'),
  ('private.tg_session_days__request_figures()', null, 'organization',
    'Trigger: asks for the employee-days of the rows that changed, each with its own organization_id.'),
  ('private.tg_expenses__request_figures()', null, 'organization', 'Trigger: the employee-day of old and new.'),
  ('private.get_user_summary(uuid, date, date)', 'api_key,authenticated', 'organization',
    'A key with analytics:read has no right on employees. Behind require_employee or the scope; an employee finds only the
     own row.'),
  ('private.get_dashboard()', 'api_key,authenticated', 'organization',
    'Names leaders to a key that has no right on employees. Behind require_admin, in that row''s organization.'),
  ('private.get_live_map(integer)', 'api_key,authenticated', 'organization',
    'Names people to a key that has no right on employees. Behind require_admin, in that row''s organization.'),
  ('private.rank_people(uuid, text, date, date, text)', null, 'organization',
    'Called by get_leaderboard for the caller''s organization: ranks all people of it.'),
  ('private.get_leaderboard(text, date, date, integer)', 'api_key,authenticated', 'organization',
    'An employee sees ranks of colleagues whose rows are withheld. Behind require_employee or the scope.'),
  ('private.run_schedule(text)', 'fieldtrack_worker', 'operator',
    'The worker has no rights on what schedules do. It names a row of private.schedules, it passes no SQL.'),
  ('private.is_cron_usable()', 'fieldtrack_worker,service_role', 'operator',
    'Only pg_monitor reads pg_cron''s settings. Answers yes or no and takes nothing.'),
  ('private.current_epoch()', null, 'operator', 'Called by definers that write events; reads the list of clusters.'),
  ('private.emit_event(uuid, text, text, uuid, uuid, jsonb)', null, 'organization',
    'Nobody may insert events. Called by trigger functions for the row that changed.'),
  ('private.tg_attendance_sessions__emit()', null, 'organization', 'Trigger: the event belongs to the organization of new.'),
  ('private.tg_expenses__emit()', null, 'organization', 'Trigger: the event belongs to the organization of new.'),
  ('private.tg_employees__emit()', null, 'organization', 'Trigger: the event belongs to the organization of new.'),
  ('private.tg_organizations__emit()', null, 'organization', 'Trigger: the event belongs to the organization in new.'),
  ('private.create_stream_ticket()', 'authenticated', 'organization',
    'Nobody may insert tickets. Behind require_admin, for that administrator.'),
  ('private.use_stream_ticket(bytea)', 'fieldtrack_edge', 'organization',
    'The hash of the secret ticket decides whose organization; the row goes with the answer.'),
  ('private.purge_stream_tickets()', null, 'all organizations', 'Schedule over all tenants: deletes what has expired.'),
  ('private.find_member(uuid)', 'fieldtrack_edge', 'user', 'Reads the active row of a user whose token was verified.'),
  ('private.keep_admins(uuid[], uuid[])', 'fieldtrack_edge', 'organization',
    'The live stream asks about the people it streams to, each with the own organization.'),
  ('private.keep_api_keys(uuid[], uuid[])', 'fieldtrack_edge', 'organization',
    'The live stream asks about the keys it streams to, each with the own organization.'),
  ('private.read_positions_at_work(uuid[])', 'fieldtrack_edge', 'all organizations',
    'The live stream reads for the organizations that listen and hands each row on to its own organization only.'),
  ('private.read_positions_of(uuid[], uuid[])', 'fieldtrack_edge', 'all organizations',
    'As read_positions_at_work, for people who have left it since.'),
  ('private.log_end()', 'fieldtrack_edge', 'operator', 'A position in the log; no tenant''s data.'),
  ('private.is_log_kept_since(smallint, xid8, bigint)', 'fieldtrack_edge', 'operator', 'As log_end.'),
  ('private.read_organization_log(uuid, smallint, xid8, bigint, smallint, xid8, bigint, integer)', 'fieldtrack_edge',
    'organization', 'What one client of the live stream missed: events of the organization named.'),
  ('private.read_log(smallint, xid8, bigint, integer)', 'fieldtrack_edge', 'all organizations',
    'The live stream reads the log of all tenants once a process and hands each event on to its own organization only.'),
  ('private.read_events(text, integer)', null, 'all organizations',
    'Internal consumers (definers of their own) read the log of all tenants.'),
  ('private.register_event_consumer(text)', null, 'operator', 'Migrations and operators name a consumer; no tenant''s data.'),
  ('private.horizon_report()', 'fieldtrack_worker,service_role', 'operator',
    'The statistics views show other roles'' sessions to monitors only. No tenant''s data.'),
  ('private.queue_report()', 'fieldtrack_worker,service_role', 'operator', 'Counts jobs; reads no payload.'),
  ('private.consumer_report()', 'fieldtrack_worker,service_role', 'all organizations',
    'Counts events and takes the time of one; reads no payload.'),
  ('private.metric_samples()', 'fieldtrack_worker,service_role', 'all organizations',
    'Counts over all tenants without naming any.'),
  ('private.snapshot_report()', 'fieldtrack_worker,service_role', 'all organizations', 'Counts; names no tenant.'),
  ('private.queue_stats()', 'authenticated,service_role', 'organization',
    'The queue is granted to no client. Behind require_admin: jobs of that organization; service_role: counts over all.'),
  ('private.system_health()', 'authenticated,service_role', 'organization', 'As queue_stats.'),
  ('private.migration_version()', 'fieldtrack_worker,service_role', 'operator', 'Reads the CLI''s list of migrations.'),
  ('private.tg_request_spans__end()', null, 'operator', 'Trigger at commit, under the role of the request: the row of new.'),
  ('private.take_request_spans(integer)', 'fieldtrack_worker', 'operator',
    'Ids, paths and times of traces, no tenant''s data; granted to nobody, so that they are handed out once.'),
  ('private.purge_request_spans(integer)', null, 'operator', 'Schedule: deletes by age alone.'),
  ('private.webhook_url_problem(text)', null, 'operator',
    'Called by definers; reads the installation''s one row of settings, which is granted to nobody.'),
  ('private.tg_webhooks__audit_deletion()', null, 'organization', 'Trigger: the audit row belongs to the organization of old.'),
  ('private.tg_events__fan_out()', null, 'organization',
    'Trigger: nobody may insert deliveries. They belong to the organization of new, as its webhooks do.'),
  ('private.new_webhook_secret(uuid, uuid)', null, 'organization',
    'Called by definers for a webhook they made or locked; secrets are granted to nobody.'),
  ('private.create_webhook(text, text[], text, integer)', 'api_key,authenticated', 'organization',
    'Nobody may insert webhooks. Behind require_webhook_editor, in that organization.'),
  ('private.update_webhook(uuid, jsonb)', 'api_key,authenticated', 'organization', 'As create_webhook.'),
  ('private.rotate_webhook_secret(uuid, integer)', 'api_key,authenticated', 'organization', 'As create_webhook.'),
  ('private.require_live_webhook(uuid, uuid)', null, 'organization',
    'Called by definers behind require_admin, for that organization.'),
  ('private.test_webhook(uuid)', 'api_key,authenticated', 'organization',
    'Nobody may insert events. Behind require_admin with webhooks:manage, in that organization.'),
  ('private.retry_webhook_delivery(uuid)', 'api_key,authenticated', 'organization',
    'Nobody may update deliveries. Behind require_admin with webhooks:manage, in that organization.'),
  ('private.replay_webhook_events(uuid, timestamptz, timestamptz, boolean)', 'api_key,authenticated', 'organization',
    'Nobody may insert deliveries. Behind require_admin with webhooks:manage, in that organization.'),
  ('private.claim_webhook_deliveries(integer, integer)', 'fieldtrack_worker', 'all organizations',
    'Turns between organizations need sight of all of them. Secrets go out with a delivery of their own webhook only.'),
  ('private.record_webhook_attempts(jsonb)', 'fieldtrack_worker', 'all organizations',
    'A batch holds outcomes of several organizations; each is found by its organization, webhook, id and lease.'),
  ('private.judge_webhook(uuid, uuid, boolean, integer, double precision, boolean)', null, 'organization',
    'Called by record_webhook_attempts for the webhook of a delivery it recorded.'),
  ('private.disable_webhook(uuid, uuid, text, timestamptz)', null, 'organization',
    'Called by judge_webhook for the webhook it judged.'),
  ('private.replay_intent(uuid, uuid)', null, 'organization',
    'Called by definers; puts a job into the queue, which nobody else may, with the payload of that organization''s row.'),
  ('private.refuse_retry_intent(uuid, uuid)', null, 'organization', 'Called by definers behind require_admin.'),
  ('private.replay_retry_intent(uuid)', 'authenticated', 'organization',
    'Nobody may update intents or enqueue. Behind require_admin, in that organization.'),
  ('private.replay_retry_intents(text, integer)', 'authenticated', 'organization', 'As replay_retry_intent.'),
  ('private.discard_retry_intent(uuid)', 'authenticated', 'organization', 'As replay_retry_intent.'),
  ('private.replay_due_retry_intents()', null, 'all organizations',
    'Schedule over all tenants, by operators only; hands each intent on with its own organization.'),
  ('private.clean_retry_intents()', null, 'all organizations',
    'Schedule over all tenants, by operators only; deletes settled rows by their own organization.'),
  ('private.purge_locations()', null, 'all organizations',
    'Schedule over all tenants, in turns; each session with its own organization and that one''s retention.'),
  ('private.before_request()', 'anon,api_key,authenticated,service_role', 'user',
    'Nobody may write rate buckets. Takes a token of the caller, in the caller''s organization.'),
  ('private.failing_turns()', 'service_role', 'all organizations', 'Behind system_health as service_role.'),
  ('private.loop_report()', 'fieldtrack_worker,service_role', 'all organizations', 'Counts organizations, and names none.'),
  ('private.drop_location_partition()', null, 'all organizations',
    'Schedule; a month goes only when no point is left in it.'),
  ('private.continue_erasure(uuid, uuid, integer, integer)', null, 'organization',
    'Called by erase_employee and the schedule, for a row of private.erasures.'),
  ('private.continue_erasures()', null, 'all organizations', 'Schedule over all tenants; hands each erasure on with its own.'),
  ('private.erase_employee(uuid, text)', 'authenticated', 'organization',
    'Nobody may change or delete what it does. Behind require_admin, in that row''s organization.'),
  ('private.erase_audit_values(uuid, uuid)', null, 'organization',
    'Called by erase_employee; the one way around the append-only rule.'),
  ('private.export_employee_data(uuid, uuid, timestamptz)', 'authenticated', 'organization',
    'Reads what no single policy shows. Behind require_employee: the own data, or an administrator''s organization''s.'),
  ('private.delete_organization(text, text)', 'authenticated', 'organization',
    'Nobody may update organizations. Behind require_admin; the row is that of the administrator.'),
  ('private.keep_organization()', 'authenticated', 'organization', 'As delete_organization.'),
  ('private.delete_due_organizations()', null, 'all organizations',
    'Schedule, in turns; organizations whose own administrators gave notice 30 days before.'),
  ('private.purge_leftovers()', null, 'all organizations', 'Schedule over all tenants; what has run out for each alike.'),
  ('private.refresh_latest_session(uuid, uuid)', null, 'organization',
    'Nobody may write snapshots. Called by triggers and the reconciliation for an employee of one organization.'),
  ('private.refresh_active_user(uuid, uuid)', null, 'organization', 'As refresh_latest_session.'),
  ('private.refresh_last_state(uuid, uuid)', null, 'organization', 'As refresh_latest_session.'),
  ('private.refresh_check_in_state(uuid, uuid)', null, 'organization', 'As refresh_latest_session.'),
  ('private.refresh_dashboard(uuid)', null, 'organization', 'As refresh_latest_session, for one organization.'),
  ('private.refresh_dashboards(integer, integer)', 'fieldtrack_worker', 'all organizations',
    'The snapshot loop: reads which organizations have news and hands each on by itself.'),
  ('private.reconcile_snapshots(integer, uuid)', 'service_role', 'all organizations',
    'Compares every snapshot with the base of its own organization; answers counts only.'),
  ('private.tg_employees__make_snapshots()', null, 'organization', 'Trigger: rows of the organization of new.'),
  ('private.tg_attendance_sessions__refresh_snapshots()', null, 'organization',
    'Trigger: rows of the session''s organization and employee.'),
  ('private.tg_gps_locations__refresh_last_state()', null, 'organization',
    'Trigger: rows of the organization and employee of each new point.'),
  ('private.tg_live_distances__refresh_last_state()', null, 'organization', 'Trigger: the row of the session''s employee.'),
  ('private.tg_expenses__refresh_snapshots()', null, 'organization',
    'Trigger: rows of the expense''s organization and employee.'),
  ('private.tg_org_daily_metrics__refresh_dashboard()', null, 'organization', 'Trigger: the dashboard of new.'),
  ('private.purge_events(integer, interval, interval)', null, 'all organizations', 'Schedule: deletes by age alone.'),
  ('private.drop_stalled_consumers(interval)', null, 'all organizations',
    'Schedule: each organization''s event names that organization only.'),
  ('private.managed_employee_ids()', 'authenticated,service_role', 'user', 'A policy on employees asks it.'),
  ('private.managed_team_topics()', 'authenticated', 'user', 'Realtime''s policy asks it of the caller.'),
  ('private.save_site(uuid, jsonb)', 'api_key,authenticated', 'organization', 'Writes rows of the caller''s organization.'),
  ('private.export_sites()', 'api_key,authenticated', 'organization', 'Sites of the caller''s organization.'),
  ('private.import_sites(jsonb)', 'api_key,authenticated', 'organization', 'As save_site, a site at a time.'),
  ('private.follow_site(public.sites, public.attendance_sessions, timestamptz)', null, 'organization',
    'Visits of the session''s organization, out of its own points.'),
  ('private.follow_visits(public.attendance_sessions, timestamptz)', null, 'organization', 'As follow_site.'),
  ('private.tg_gps_locations__follow_visits()', null, 'organization', 'Trigger: visits of the sessions whose points came.'),
  ('private.tg_attendance_sessions__follow_visits()', null, 'organization', 'Trigger: visits of the session.'),
  ('private.tg_visits__emit()', null, 'organization', 'Trigger: an event of the visit''s organization.'),
  ('private.count_device_refusals(uuid, uuid, jsonb)', null, 'organization', 'Counts on the phone''s token.'),
  ('private.settle_device(public.device_tokens, public.device_tokens, text, jsonb, bigint, bigint, jsonb, boolean)', null,
    'organization', 'The row of the token that ingest_locations found, and events of its organization.'),
  ('private.get_device_health(uuid)', 'authenticated', 'user', 'Phones of the caller, of their team, or of their organization.'),
  ('private.is_manager(uuid, uuid)', null, 'organization', 'Of a person of the organization that it is given.'),
  ('private.teams_of(uuid[], uuid[])', 'fieldtrack_edge', 'organization', 'Pairs of organization and person; as keep_admins.'),
  ('private.require_leader(text)', 'api_key,authenticated', 'user', 'As require_admin, for managers too.'),
  ('private.leads(private.caller, uuid)', 'api_key,authenticated', 'organization',
    'Compares a person with what the caller leads; the policies of employees would ask it.'),
  ('private.emit_team_event(text, public.teams)', null, 'organization', 'Writes an event of the team''s organization.'),
  ('private.lock_team(uuid, uuid)', null, 'organization', 'Locks a row of the organization that it is given.'),
  ('private.save_team(uuid, text)', 'api_key,authenticated', 'organization', 'Writes rows of the caller''s organization.'),
  ('private.delete_team(uuid)', 'authenticated', 'organization', 'As save_team.'),
  ('private.set_team_manager(uuid, uuid, boolean)', 'authenticated', 'organization', 'As save_team.'),
  ('private.tg_events__broadcast()', null, 'organization', 'Trigger: sends to the channel of the organization of new.')
) as v (name, callers, bound, why_and_boundary);

create temporary view definer as
select p.oid::regprocedure as name, n.nspname, p.prosrc, p.proowner,
  (
    select string_agg(a.grantee::regrole::text, ',' order by a.grantee::regrole::text)
    from pg_catalog.aclexplode(p.proacl) as a
    where a.grantee <> p.proowner
  ) as callers
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
where p.prosecdef
  and n.nspname not in (
    'pg_catalog', 'information_schema', 'extensions', 'auth', 'storage', 'realtime', '_realtime', 'vault', 'graphql', 'cron'
  )
  and not exists (select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e');

select is_empty(
  $$select name from definer where nspname <> 'private'$$,
  'definers live in private, where PostgREST does not look'
);

select set_eq(
  $$select name, callers from definer$$,
  $$select name, callers from inventory$$,
  'the inventory lists every definer and who may call it'
);

-- Rows of one tenant are found by its organization_id; before that is known, by the caller's user or a secret's hash.
select is_empty(
  $$
    select d.name, pg_catalog.regexp_replace(statement, '\s+', ' ', 'g')
    from definer as d
    cross join lateral pg_catalog.regexp_split_to_table(
      pg_catalog.regexp_replace(d.prosrc, '--[^\n]*', '', 'g'), ';'
    ) as statement
    join inventory as i on i.name = d.name and i.bound <> 'all organizations'
    where statement !~ '\m(in_)?(organization_id|user_id|token_hash)\M'
      and statement ~* (
        select '\m(from|join|update|into)\s+(only\s+)?(public|private)\.(' || string_agg(a.relname, '|') || ')\M'
        from (
          select c.relname
          from pg_catalog.pg_class as c
          join pg_catalog.pg_attribute as o on o.attrelid = c.oid and o.attname = 'organization_id'
          where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace) and c.relkind in ('r', 'p')
        ) as a
      )
  $$,
  'every statement of a definer on a tenant''s table names the organization'
);

select is_empty(
  $$
    select d.name from definer as d join inventory as i on i.name = d.name
    where i.bound = 'organization' and d.prosrc !~ '\m(in_)?organization_id\M'
  $$,
  'every definer that is bound to an organization names it'
);

select is_empty(
  $$
    select d.name from definer as d join inventory as i on i.name = d.name
    where i.bound = 'user' and d.prosrc !~ '\m((in_)?user_id|current_user_id|require_employee|current_employee_id)\M'
  $$,
  'every definer that is bound to the caller starts from the caller''s user id'
);

select is_empty(
  $$select name from definer where proowner::regrole::text <> 'postgres'$$,
  'definers belong to postgres, which is no superuser'
);

select * from finish();
rollback;
