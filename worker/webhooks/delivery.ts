// The rows that the dispatcher gets from the database and gives back to it.

/** A delivery as private.claim_webhook_deliveries hands it out. */
export interface ClaimedDelivery {
  organization_id: string;
  delivery_id: string;
  webhook_id: string;
  lease: string;
  attempt: number;
  /** The database's time of the claim, seconds since 1970. */
  claimed_at_s: number;
  url: string;
  body: string;
  secrets: string[];
  traceparent: string | null;
  allow_localhost: boolean;
}

export type SendError = 'status' | 'redirect' | 'timeout' | 'dns' | 'address_refused' | 'tls' | 'connection' | 'closed';

/** What came of an attempt; null as error is success. */
export interface SendOutcome {
  status: number | null;
  error: SendError | null;
  response: string | null;
  retry_after_s: number | null;
  duration_ms: number;
}

/** What private.record_webhook_attempts takes. */
export type RecordedOutcome = SendOutcome &
  Pick<ClaimedDelivery, 'organization_id' | 'webhook_id' | 'delivery_id' | 'lease'>;
