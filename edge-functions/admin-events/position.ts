/** A place in the event log: what lies after it is new. In text, as the stream's `id:`, it is `epoch.xact.id`. */
export type Position = { epoch: number; xact: bigint; id: bigint };

const MAX_EPOCH = 32_767;
const MAX_XACT = 2n ** 64n - 1n;
const MAX_ID = 2n ** 63n - 1n;

export function comparePositions(a: Position, b: Position): number {
  if (a.epoch !== b.epoch) return a.epoch < b.epoch ? -1 : 1;
  if (a.xact !== b.xact) return a.xact < b.xact ? -1 : 1;
  if (a.id !== b.id) return a.id < b.id ? -1 : 1;
  return 0;
}

export function formatPosition({ epoch, xact, id }: Position): string {
  return `${epoch}.${xact}.${id}`;
}

/** Undefined for what is no position of any log. */
export function parsePosition(text: string): Position | undefined {
  const [, epoch = '', xact = '', id = ''] = /^(\d{1,5})\.(\d{1,20})\.(\d{1,19})$/.exec(text) ?? [];
  if (epoch === '') return undefined;
  const position = { epoch: Number(epoch), xact: BigInt(xact), id: BigInt(id) };
  return position.epoch <= MAX_EPOCH && position.xact <= MAX_XACT && position.id <= MAX_ID ? position : undefined;
}
