/** The stack cannot go on, and the message says what to do about it: shown to a person without a stack trace. */
export class Refusal extends Error {
  override name = 'Refusal';
}
