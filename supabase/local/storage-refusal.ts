/**
 * Storage answers a refusal as HTTP 400 with the true status in its body: clients read `statusCode` and `code`. Its words are those of
 * a hosted project where an app may compare them, and say what to do where the stand-in has less.
 */
export class StorageRefusal extends Error {
  readonly statusCode: number;
  readonly error: string;
  readonly code: string;

  constructor(statusCode: number, error: string, message: string, code: string) {
    super(message);
    this.statusCode = statusCode;
    this.error = error;
    this.code = code;
  }

  answer(): Response {
    const { error, message, code } = this;
    return Response.json({ statusCode: String(this.statusCode), error, message, code }, { status: 400 });
  }
}

export const refusals = {
  noAuthorization: () =>
    new StorageRefusal(400, 'Error', "headers must have required property 'authorization'", 'InvalidRequest'),
  invalidRequest: (message: string) => new StorageRefusal(400, 'Error', message, 'InvalidRequest'),
  invalidKey: (name: string) => new StorageRefusal(400, 'InvalidKey', `Invalid key: ${name}`, 'InvalidKey'),
  accessDenied: (message: string) => new StorageRefusal(403, 'Unauthorized', message, 'AccessDenied'),
  invalidJwt: (message: string) => new StorageRefusal(400, 'InvalidJWT', message, 'InvalidJWT'),
  noSuchBucket: () => new StorageRefusal(404, 'Bucket not found', 'Bucket not found', 'NoSuchBucket'),
  noSuchKey: () => new StorageRefusal(404, 'not_found', 'Object not found', 'NoSuchKey'),
  duplicate: () => new StorageRefusal(409, 'Duplicate', 'The resource already exists', 'KeyAlreadyExists'),
  invalidMimeType: (type: string) =>
    new StorageRefusal(415, 'invalid_mime_type', `mime type ${type} is not supported`, 'InvalidMimeType'),
  entityTooLarge: () =>
    new StorageRefusal(413, 'Payload too large', 'The object exceeded the maximum allowed size', 'EntityTooLarge'),
  notHere: (what: string) =>
    new StorageRefusal(501, 'NotImplemented', `The stack without Docker has no ${what}.`, 'NotImplemented'),
};
