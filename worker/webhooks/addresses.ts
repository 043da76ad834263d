import ipaddr from 'ipaddr.js';

const unicastIpv6 = ipaddr.parseCIDR('2000::/3');

/**
 * Whether an address belongs to the public network. Everything in the IANA special-purpose registries does not, nor does an
 * IPv6 address that carries an IPv4 one (mapped, NAT64, 6to4, Teredo). private.is_public_address says the same in SQL.
 */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== 'unicast') return false;
  // ipaddr.js calls all that is not special unicast; of IPv6 only this block is given out, which leaves ::/96 outside too.
  return parsed.kind() === 'ipv4' || parsed.match(unicastIpv6);
}

export function isLoopbackAddress(address: string): boolean {
  return ipaddr.isValid(address) && ipaddr.parse(address).range() === 'loopback';
}
