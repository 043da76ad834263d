/**
 * The registry of errors: code, HTTP status and when it is raised. `private.error_status()` in the database and
 * docs/error-codes.md say the same; tests hold the three together.
 */
export const errors = {
  not_authenticated: { status: 401, meaning: 'The request carries no user’s access token.' },
  api_key_invalid: { status: 401, meaning: 'The API key was revoked, has expired or never was.' },
  device_token_invalid: {
    status: 401,
    meaning: 'The device token was revoked or never was, or its person is not active.',
  },
  not_a_member: { status: 403, meaning: 'The user is not an active member of an organization.' },
  admin_required: { status: 403, meaning: 'Only an administrator of the organization may do this.' },
  scope_missing: { status: 403, meaning: 'The API key lacks the scope that details names.' },
  invitation_email_mismatch: { status: 403, meaning: 'The invitation is for another e-mail address.' },
  own_expense: { status: 403, meaning: 'Nobody decides over the own expense.' },
  own_session: {
    status: 403,
    meaning: 'Nobody changes the own hours alone where the organization says so, nor decides about the own request.',
  },
  invalid_argument: { status: 400, meaning: 'An argument is missing or breaks a rule; details names it.' },
  batch_size: { status: 400, meaning: 'A call takes 1 to 100 points.' },
  employee_not_found: { status: 404, meaning: 'No such employee in the caller’s organization.' },
  correction_not_found: { status: 404, meaning: 'No such request for a correction.' },
  session_not_found: { status: 404, meaning: 'No such session that the caller may see or write to.' },
  invitation_not_found: { status: 404, meaning: 'No such invitation, or it was replaced or used.' },
  expense_not_found: { status: 404, meaning: 'No such expense in the caller’s organization.' },
  api_key_not_found: {
    status: 404,
    meaning: 'No such API key in the caller’s organization, or it is not valid any more.',
  },
  webhook_not_found: { status: 404, meaning: 'No such webhook in the caller’s organization.' },
  delivery_not_found: { status: 404, meaning: 'No such webhook delivery in the caller’s organization.' },
  retry_intent_not_found: { status: 404, meaning: 'No such retry intent in the caller’s organization.' },
  device_token_not_found: { status: 404, meaning: 'No such device token that the caller may revoke.' },
  already_in_organization: { status: 409, meaning: 'The user already belongs to an organization.' },
  slug_taken: { status: 409, meaning: 'Another organization has this slug.' },
  employee_code_taken: { status: 409, meaning: 'Another employee of the organization has this code.' },
  team_name_taken: { status: 409, meaning: 'Another team of the organization has this name.' },
  site_not_found: { status: 404, meaning: 'There is no site with this id in the organization.' },
  site_external_id_taken: { status: 409, meaning: 'Another site of the organization has this external_id.' },
  team_not_found: { status: 404, meaning: 'There is no team with this id in the organization.' },
  already_a_member: { status: 409, meaning: 'A person with this address is already a member.' },
  session_already_open: { status: 409, meaning: 'The caller is checked in already; details names the session.' },
  no_open_session: { status: 409, meaning: 'The caller is not checked in.' },
  session_voided: { status: 409, meaning: 'The session was taken back; it does not change any more.' },
  correction_already_reviewed: { status: 409, meaning: 'Somebody has decided about the request before.' },
  session_overlap: { status: 409, meaning: 'The time falls into another session of the person.' },
  session_sealed: { status: 409, meaning: 'Retention deleted the session’s points; its figures are final.' },
  session_open: { status: 409, meaning: 'The session is still open; its distance comes with the check-out.' },
  expense_already_reviewed: { status: 409, meaning: 'Somebody reviewed the expense before; details names its state.' },
  invitation_needed: { status: 409, meaning: 'Whoever had an account here comes back by an invitation.' },
  expense_state: { status: 409, meaning: 'The expense’s state does not allow this; details names the state.' },
  last_admin: { status: 409, meaning: 'An organization keeps at least one active administrator.' },
  too_many_webhooks: { status: 409, meaning: 'An organization has at most 20 webhooks.' },
  webhook_inactive: { status: 409, meaning: 'The webhook is switched off, or the system disabled it (details: why).' },
  retry_intent_settled: {
    status: 409,
    meaning: 'The retry intent was replayed or discarded before; details names its state.',
  },
  period_locked: { status: 409, meaning: 'The day lies before the organization’s locked_until.' },
  period_unsettled: {
    status: 409,
    meaning: 'Sessions that began before the day are open or have no figures yet; details names some of them.',
  },
  conflict_retry: { status: 409, meaning: 'Somebody did the same at the same moment; try again.' },
  invitation_expired: { status: 410, meaning: 'The invitation’s seven days are over.' },
  time_in_future: { status: 422, meaning: 'A phone’s time is more than two minutes ahead.' },
  time_too_old: { status: 422, meaning: 'A phone’s time lies further back than the organization’s grace.' },
  check_out_before_check_in: { status: 422, meaning: 'The check-out lies before the check-in.' },
  upload_too_late: { status: 422, meaning: 'The session was closed longer ago than the organization’s grace.' },
  batch_rejected: { status: 422, meaning: 'A strict batch held a bad point; none was stored. details lists them.' },
  idempotency_mismatch: { status: 422, meaning: 'The client_request_id was used for another request.' },
  rate_limited: { status: 429, meaning: 'Too many calls; Retry-After says how many seconds to wait.' },
} as const satisfies Record<string, { status: number; meaning: string }>;

/** What edge functions answer beside the above; the database raises none of these. */
export const edgeErrors = {
  path_invalid: {
    status: 400,
    meaning: 'The path is not in its plain form: `..`, `//`, encoded slashes and the like.',
  },
  body_invalid: { status: 400, meaning: 'The body is not what its type or the endpoint says it is.' },
  token_invalid: { status: 401, meaning: 'The access token is forged, expired, or of another issuer.' },
  ticket_invalid: { status: 401, meaning: 'The ticket was used, has expired or never was; tickets are good for once.' },
  not_found: { status: 404, meaning: 'The function has no such path.' },
  method_not_allowed: { status: 405, meaning: 'The path answers other methods; the header Allow lists them.' },
  body_too_large: { status: 413, meaning: 'The body has more bytes than the message says.' },
  too_many_streams: { status: 429, meaning: 'The organization has as many streams open as one process serves.' },
  internal_error: { status: 500, meaning: 'A defect of ours; details is the request id to report.' },
  upstream_unavailable: { status: 502, meaning: 'A service behind the function did not answer.' },
  database_unavailable: { status: 503, meaning: 'The database did not answer; Retry-After says when to try again.' },
  timeout: { status: 504, meaning: 'There was no answer in time.' },
} as const satisfies Record<string, { status: number; meaning: string }>;

export type ErrorCode = keyof typeof errors;
export type EdgeErrorCode = keyof typeof edgeErrors;

/** Why record_locations refused one point of a batch; the others are kept unless the batch is strict. */
export const pointErrors = {
  point_time_invalid: 'recorded_at is missing or no ISO 8601 time with an offset.',
  point_position_invalid: 'latitude or longitude is missing, no number, or out of range.',
  point_field_invalid: 'Another field is out of its range or of the wrong type.',
  point_in_future: 'recorded_at is more than two minutes ahead.',
  point_before_session: 'recorded_at lies before the check-in.',
  point_after_session: 'recorded_at lies after the check-out.',
  point_too_old: 'recorded_at is older than grace and longest session together.',
} as const satisfies Record<string, string>;
