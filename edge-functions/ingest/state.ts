/** What an app says of its phone, as the device's state: why positions stopped, before anybody asks. */
export type DeviceState = {
  location?: 'on' | 'off';
  permission?: 'always' | 'in_use' | 'denied';
  battery_saver?: boolean;
  alarm?: string;
};

type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Of Transistorsoft's SDK, hence of Traccar Client from 9 on: the provider, and events of the battery saver. */
export function providerState(record: Json): DeviceState {
  const state: DeviceState = {};
  const { provider } = record;
  if (isObject(provider)) {
    if (provider.enabled === false || provider.gps === false) state.location = 'off';
    else if (provider.enabled === true || provider.gps === true) state.location = 'on';
    // 0 not asked yet, 1 restricted, 2 denied, 3 always, 4 while in use.
    const permission = ([undefined, 'denied', 'denied', 'always', 'in_use'] as const)[Number(provider.status)];
    if (permission !== undefined) state.permission = permission;
  }
  const saver = record.is_power_save_mode ?? record.isPowerSaveMode ?? record.power_save;
  if (typeof saver === 'boolean') state.battery_saver = saver;
  if (typeof record.alarm === 'string' && record.alarm !== '') state.alarm = record.alarm.slice(0, 40);
  return state;
}

/** https://owntracks.org/booklet/tech/json/, "_type=status": of iOS and of Android. */
export function ownTracksState(message: Json): DeviceState {
  if (message._type !== 'status') return {};
  const state: DeviceState = {};
  for (const part of [message, message.iOS, message.android].filter(isObject)) {
    const authorization = String(part.authorizationStatus ?? '');
    if (/denied|restricted/i.test(authorization)) state.permission = 'denied';
    else if (/wheninuse/i.test(authorization)) state.permission = 'in_use';
    else if (/always/i.test(authorization)) state.permission = 'always';
    // Android: 0 and -1 in the background, -2 and -3 in the foreground only, -4 not at all.
    const { loc, ps, lowPowerMode, locationServicesEnabled } = part;
    if (typeof loc === 'number') state.permission = loc >= -1 ? 'always' : loc >= -3 ? 'in_use' : 'denied';
    const saver = ps ?? lowPowerMode;
    if (saver === true || saver === 1) state.battery_saver = true;
    else if (saver === false || saver === 0) state.battery_saver = false;
    if (typeof locationServicesEnabled === 'boolean') state.location = locationServicesEnabled ? 'on' : 'off';
  }
  return state;
}
