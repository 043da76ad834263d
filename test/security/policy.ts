// Who may do what: the one table behind test/security, and behind the part of docs/security.md that is made from it.
//
// The tests ask the catalog for every table, view and function and try each as each kind of caller on real rows. What is not
// written here is refused to everybody; an object that grants something and has no line here fails with the line to add. A
// line here is a decision: it is reviewed, the tests only hold the database to it.

/** Which rows a caller reaches: their own, also those of the people they manage, all of the organization, or all there are. */
export type Reach = 'own' | 'team' | 'organization' | 'all';

export const scopes = [
  'sessions:read',
  'sessions:write',
  'locations:read',
  'locations:write',
  'expenses:read',
  'expenses:review',
  'employees:read',
  'employees:write',
  'analytics:read',
  'webhooks:manage',
  'events:read',
  'sites:read',
  'sites:write',
] as const;

export type Scope = (typeof scopes)[number];

export type Writer = 'administrator' | 'key' | 'worker' | 'service';
export type Verb = 'insert' | 'update' | 'delete';

export type TableRights = {
  employee?: Reach;
  /** A person who manages a team; absent: what every employee reaches. */
  manager?: Reach;
  administrator?: Reach;
  /** A key reads its organization's rows if it holds all of these scopes; none: any valid key. */
  key?: readonly Scope[];
  worker?: Reach;
  edge?: Reach;
  service?: Reach;
  /** Who else than RPCs writes, and what. There is little: writes are RPCs. */
  writes?: Partial<Record<Writer, readonly Verb[]>>;
  /** What says which organization and which employee a row belongs to, where that is not organization_id and employee_id. */
  tenant?: string;
  owner?: string;
};

const members = { employee: 'own', manager: 'team', administrator: 'organization', service: 'all' } as const;
const administrators = { administrator: 'organization', service: 'all' } as const;
const organizationOfEmployee = '(select e.organization_id from public.employees as e where e.id = employee_id)';
const figures = ['insert', 'update'] as const;

/** Tables and views, by schema.name. What is not here is reached by nobody. */
export const tables: Record<string, TableRights> = {
  'public.organizations': {
    employee: 'organization',
    administrator: 'organization',
    key: [],
    worker: 'organization',
    service: 'all',
    tenant: 'id',
  },
  'public.organization_time_zones': {
    employee: 'organization',
    administrator: 'organization',
    key: [],
    worker: 'organization',
    service: 'all',
  },
  'public.employees': { ...members, key: ['employees:read'], worker: 'organization', owner: 'id' },
  'public.teams': { employee: 'organization', administrator: 'organization', service: 'all', key: ['employees:read'] },
  'public.sites': { employee: 'organization', administrator: 'organization', service: 'all', key: ['sites:read'] },
  'public.visits': { ...members, key: ['locations:read'] },
  'public.team_managers': { ...members, manager: 'own', key: ['employees:read'] },
  'public.invitations': { ...administrators, key: ['employees:read'] },
  'public.api_keys': { ...administrators },
  'public.audit_log': { ...administrators },
  'public.events': { ...administrators, key: ['events:read'], worker: 'organization' },
  'public.attendance_sessions': {
    ...members,
    key: ['sessions:read'],
    worker: 'organization',
    writes: { worker: ['update'] },
  },
  'public.session_reports': { ...members, key: ['sessions:read'] },
  'public.correction_requests': { ...members, key: ['sessions:read'] },
  'public.session_days': {
    ...members,
    key: ['sessions:read'],
    worker: 'organization',
    writes: { worker: ['insert', 'delete'] },
  },
  'public.gps_locations': { ...members, key: ['locations:read'], worker: 'organization' },
  'public.expenses': { ...members, key: ['expenses:read'], worker: 'organization' },
  'public.employee_latest_sessions': { ...members, key: ['sessions:read'] },
  'public.active_users': { ...members, key: ['sessions:read'] },
  'public.employee_last_state': { ...members, key: ['locations:read'] },
  'public.employee_metrics_snapshot': { ...members, key: ['analytics:read'] },
  'public.pending_expenses': { ...members, key: ['expenses:read'] },
  'public.employee_daily_metrics': {
    ...members,
    key: ['analytics:read'],
    worker: 'organization',
    writes: { worker: figures },
  },
  'public.employee_monthly_metrics': {
    ...members,
    key: ['analytics:read'],
    worker: 'organization',
    writes: { worker: figures },
  },
  'public.org_daily_metrics': {
    ...administrators,
    key: ['analytics:read'],
    worker: 'organization',
    writes: { worker: figures },
  },
  'public.org_daily_expenses': {
    ...administrators,
    key: ['analytics:read'],
    worker: 'organization',
    writes: { worker: ['insert', 'delete'] },
  },
  'public.org_dashboard_snapshot': { ...administrators, key: ['analytics:read'] },
  'public.webhooks': {
    ...administrators,
    key: ['webhooks:manage'],
    writes: { administrator: ['delete'], key: ['delete'], service: ['delete'] },
  },
  'public.webhook_circuits': { ...administrators, key: ['webhooks:manage'] },
  'public.webhook_deliveries': { ...administrators, key: ['webhooks:manage'] },
  'public.webhook_attempts': { ...administrators, key: ['webhooks:manage'] },
  'public.retry_intents': { ...administrators, worker: 'organization', writes: { worker: figures } },
  'public.device_tokens': { ...members, key: ['employees:read'] },
  'public.export_sessions': { ...members, key: ['sessions:read', 'employees:read'], tenant: organizationOfEmployee },
  'public.export_daily_metrics': {
    ...members,
    key: ['analytics:read', 'employees:read'],
    tenant: organizationOfEmployee,
  },
  'public.export_expenses': { ...members, key: ['expenses:read', 'employees:read'], tenant: organizationOfEmployee },
  'private.schedules': { worker: 'all', service: 'all' },
  'private.schedule_states': { worker: 'all', service: 'all' },
  'private.live_distances': { worker: 'organization', writes: { worker: ['insert', 'update', 'delete'] } },
};

export type RpcRights = {
  /** Whose things a person may name: the own ones, or all of the organization. Absent: refused. */
  employee?: Reach;
  /** A person who manages a team; absent: as every employee. */
  manager?: Reach;
  administrator?: Reach;
  key?: readonly Scope[];
  service?: true;
  /** Anybody with an account, member of an organization or not. */
  signedIn?: true;
  /** Row level security answers, not the function: who may not, finds nothing (404). */
  byRows?: true;
};

const own = { employee: 'own', administrator: 'own' } as const;
const administratorOnly = { administrator: 'organization' } as const;

const routes = {
  employee: 'own',
  manager: 'team',
  administrator: 'organization',
  key: ['sessions:read', 'locations:read'],
  byRows: true,
} as const;

/** RPCs of the API (schema public), by name. */
export const rpcs: Record<string, RpcRights> = {
  create_organization: { signedIn: true },
  accept_invitation: { signedIn: true },
  get_my_profile: own,
  get_my_summary: own,
  check_in: own,
  check_out: own,
  record_session: own,
  request_correction: own,
  create_session: { ...administratorOnly, manager: 'team', key: ['sessions:write'] },
  void_session: { ...administratorOnly, manager: 'team', key: ['sessions:write'] },
  review_session: { ...administratorOnly, manager: 'team', key: ['sessions:write'] },
  review_correction: { ...administratorOnly, manager: 'team' },
  record_location: { ...own, key: ['locations:write'] },
  record_locations: { ...own, key: ['locations:write'] },
  get_session_route: routes,
  export_session_gpx: routes,
  export_session_geojson: routes,
  recalculate_session: { employee: 'own', manager: 'team', administrator: 'organization' },
  submit_expense: own,
  create_receipt_path: own,
  update_expense: own,
  withdraw_expense: own,
  reopen_expense: administratorOnly,
  mark_expenses_paid: administratorOnly,
  undo_expense_payment: administratorOnly,
  review_expense: { ...administratorOnly, manager: 'team', key: ['expenses:review'] },
  correct_session: { ...administratorOnly, manager: 'team' },
  force_check_out: { ...administratorOnly, manager: 'team' },
  invite_employee: { ...administratorOnly, key: ['employees:write'] },
  update_employee: { ...administratorOnly, key: ['employees:write'] },
  create_employee: { ...administratorOnly, key: ['employees:write'] },
  leave_organization: own,
  appoint_administrator: { service: true },
  set_employee_active: { ...administratorOnly, key: ['employees:write'] },
  create_site: { ...administratorOnly, key: ['sites:write'] },
  update_site: { ...administratorOnly, key: ['sites:write'] },
  import_sites: { ...administratorOnly, key: ['sites:write'] },
  export_sites: { employee: 'organization', administrator: 'organization', key: ['sites:read'] },
  create_team: { ...administratorOnly, key: ['employees:write'] },
  update_team: { ...administratorOnly, key: ['employees:write'] },
  delete_team: administratorOnly,
  set_team_manager: administratorOnly,
  update_organization: administratorOnly,
  get_dashboard: { ...administratorOnly, key: ['analytics:read'] },
  get_live_map: { ...administratorOnly, manager: 'team', key: ['locations:read'] },
  get_org_summary: { ...administratorOnly, key: ['analytics:read'] },
  get_user_summary: { employee: 'own', manager: 'team', administrator: 'organization', key: ['analytics:read'] },
  get_session_trend: { ...administratorOnly, key: ['analytics:read'] },
  get_leaderboard: { employee: 'organization', administrator: 'organization', key: ['analytics:read'] },
  get_expense_summary: { ...administratorOnly, key: ['analytics:read'] },
  create_api_key: administratorOnly,
  rotate_api_key: administratorOnly,
  update_api_key: administratorOnly,
  get_my_api_key: { key: [] },
  revoke_api_key: administratorOnly,
  create_device_token: administratorOnly,
  get_device_health: { employee: 'own', manager: 'team', administrator: 'organization' },
  my_device_token: own,
  revoke_device_token: { employee: 'own', administrator: 'organization' },
  create_stream_ticket: { ...administratorOnly, manager: 'own' },
  create_webhook: { ...administratorOnly, key: ['webhooks:manage', 'events:read'] },
  update_webhook: { ...administratorOnly, key: ['webhooks:manage', 'events:read'] },
  rotate_webhook_secret: { ...administratorOnly, key: ['webhooks:manage'] },
  test_webhook: { ...administratorOnly, key: ['webhooks:manage'] },
  retry_webhook_delivery: { ...administratorOnly, key: ['webhooks:manage'] },
  replay_webhook_events: { ...administratorOnly, key: ['webhooks:manage'] },
  replay_retry_intent: administratorOnly,
  replay_retry_intents: administratorOnly,
  discard_retry_intent: administratorOnly,
  erase_employee: administratorOnly,
  export_employee_data: { employee: 'own', administrator: 'organization' },
  delete_organization: administratorOnly,
  keep_organization: administratorOnly,
  queue_stats: { ...administratorOnly, service: true },
  system_health: { ...administratorOnly, service: true },
  reconcile_snapshot_tables: { service: true },
};

/** uuid arguments that name nothing: a client makes them up, or they are only a position in a list. */
export const inventedIds: readonly string[] = ['client_request_id', 'check_in_request_id', 'after_session_id'];

/** What the id in an argument names. */
export const identifiers: Record<string, { table: string; column?: string }> = {
  session_id: { table: 'public.attendance_sessions' },
  correction_request_id: { table: 'public.correction_requests' },
  expense_id: { table: 'public.expenses' },
  employee_id: { table: 'public.employees' },
  api_key_id: { table: 'public.api_keys' },
  webhook_id: { table: 'public.webhooks' },
  delivery_id: { table: 'public.webhook_deliveries' },
  retry_intent_id: { table: 'public.retry_intents' },
  team_id: { table: 'public.teams' },
  site_id: { table: 'public.sites' },
  device_token_id: { table: 'public.device_tokens' },
};
