import { type RpcRights, rpcs, type TableRights, tables } from './policy.ts';

const dash = '–';
const keys = (scopes: readonly string[] | undefined) =>
  scopes === undefined ? dash : scopes.length === 0 ? 'any key' : scopes.join(' and ');

function tableRow(name: string, rights: TableRights): string {
  const writes = Object.entries(rights.writes ?? {}).map(([who, verbs]) => `${who}: ${verbs.join(', ')}`);
  const cells = [rights.employee, rights.manager ?? rights.employee, rights.administrator].map(
    (reach) => reach ?? dash,
  );
  return `| ${[name, ...cells, keys(rights.key), rights.worker ?? dash, rights.service ?? dash, writes.join('; ') || dash].join(' | ')} |`;
}

function rpcRow(name: string, rights: RpcRights): string {
  const person = (reach: string | undefined) => reach ?? (rights.signedIn ? 'anybody signed in' : dash);
  return `| ${[name, person(rights.employee), person(rights.manager ?? rights.employee), person(rights.administrator), keys(rights.key), rights.service ? 'all' : dash].join(' | ')} |`;
}

/** The part of docs/security.md that policy.ts makes. */
export function renderPolicy(): string {
  return [
    '',
    'Rows that a caller reads: their own, their team’s (with their own), the organization’s, or all. A manager is an employee who manages a team. What has no line is reached by nobody; `anon` reaches nothing.',
    '',
    '| table or view | employee | manager | administrator | API key with | worker | service_role | writes besides RPCs |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...Object.entries(tables).map(([name, rights]) => tableRow(name, rights)),
    '',
    'Calls, and whose things they may name.',
    '',
    '| RPC | employee | manager | administrator | API key with | service_role |',
    '| --- | --- | --- | --- | --- | --- |',
    ...Object.entries(rpcs).map(([name, rights]) => rpcRow(name, rights)),
    '',
  ].join('\n');
}
