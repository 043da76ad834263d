import { randomUUID } from 'node:crypto';
import type { TestStack } from '../../../fixtures/stack.ts';

export interface Tenant {
  organizationId: string;
  /** Of its administrator. */
  token: string;
}

/** Organizations with an administrator each. */
export async function makeTenants(stack: TestStack, count: number): Promise<Tenant[]> {
  const tenants: Tenant[] = [];
  for (let index = 0; index < count; index += 1) {
    const [organization] = await stack.admin<{ id: string }[]>`
      insert into public.organizations (name, slug, time_zone, currency)
      values ('Bench', ${`bench-${randomUUID().slice(0, 8)}`}, 'UTC', 'EUR') returning id`;
    if (!organization) throw new Error('no organization');
    tenants.push({ organizationId: organization.id, token: await addAdministrator(stack, organization.id) });
  }
  return tenants;
}

/** Answers an access token of a new administrator. */
export async function addAdministrator(stack: TestStack, organizationId: string): Promise<string> {
  const userId = randomUUID();
  await stack.admin`insert into auth.users (id, email) values (${userId}, ${`${userId}@example.test`})`;
  await stack.admin`
    insert into public.employees (organization_id, user_id, name, app_role)
    values (${organizationId}, ${userId}, 'Admin', 'ADMIN')`;
  const claims = { role: 'authenticated', aud: 'authenticated', sub: userId, iss: `${stack.url}/auth/v1` };
  return stack.signer.sign(claims, '1h');
}
