const levels = { fatal: 60, error: 50, warn: 40, info: 30, debug: 20, trace: 10 } as const;

export type LogLevel = keyof typeof levels;
export type LogFields = Record<string, string | number | boolean | null | undefined | object>;

export type Logger = Record<LogLevel, (fields: LogFields, message: string) => void> & {
  child: (fields: LogFields) => Logger;
};

/** Names under which nobody may log a value, at any depth: a safety net, not a plan. */
const SECRET_NAMES = /^(authorization|apikey|x-api-key|cookie|password|token|ticket|secret|jwt|body)$/i;

/** Values that are secrets by their looks: keys and tokens of ours, access tokens. */
const SECRET_VALUES = /\b(ft_live_[0-9A-Za-z]{1,12}|ft_device_|ft_ticket_)[\w-]*|\beyJ[\w-]+\.[\w-]+\.[\w-]*/g;

/** The same JSON lines as the worker's (pino): level, time, service, then the fields, then msg. */
export function createLogger(options: {
  service: string;
  level: LogLevel | 'silent';
  write?: (line: string) => void;
  now?: () => Date;
}): Logger {
  const { service, write = console.log, now = () => new Date() } = options;
  const threshold = options.level === 'silent' ? Number.POSITIVE_INFINITY : levels[options.level];

  function childOf(bound: LogFields): Logger {
    const at = (level: LogLevel) => (fields: LogFields, message: string) => {
      if (levels[level] < threshold) return;
      const line = { level, time: now().toISOString(), service, ...bound, ...fields, msg: message };
      const json = JSON.stringify(line, (name, value) => (SECRET_NAMES.test(name) ? undefined : value));
      write(json.replace(SECRET_VALUES, (_, shown?: string) => (shown ? `${shown}…` : '…')));
    };
    return {
      fatal: at('fatal'),
      error: at('error'),
      warn: at('warn'),
      info: at('info'),
      debug: at('debug'),
      trace: at('trace'),
      child: (fields) => childOf({ ...bound, ...fields }),
    };
  }
  return childOf({});
}

/** What of an error may be logged: its kind and code. A message of PostgreSQL can quote a row, one of fetch an address. */
export function describeError(error: unknown): { name: string; code?: string } {
  if (!(error instanceof Error)) return { name: typeof error };
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  return { name: error.name, ...code };
}
