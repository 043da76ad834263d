// Somebody who drives about a town: streets that meet at right angles, sites where work is done, and what a phone tells of it.

import type { Random } from '../fixtures/random.ts';

export type City = { latitude: number; longitude: number; turned: number };

export const ljubljana: City = { latitude: 46.0555, longitude: 14.508, turned: 0.32 };
export const graz: City = { latitude: 47.0705, longitude: 15.4395, turned: -0.22 };

export type Position = {
  recorded_at: string;
  latitude: number;
  longitude: number;
  accuracy_m: number;
  speed_mps: number;
  battery_pct: number;
  is_mock?: boolean;
};

const block_m = 130;
const metresPerDegree = 111_320;

type Corner = { x: number; y: number };

export class Walker {
  readonly #city: City;
  readonly #random: Random;
  #at: Corner;
  #way: Corner[] = [];
  #restSeconds: number;
  #speed_mps = 0;
  #isHurrying = false;

  constructor(city: City, random: Random) {
    this.#city = city;
    this.#random = random;
    this.#at = this.#site();
    this.#restSeconds = random.between(60, 900);
  }

  /** Rests become short, so that somebody who looks for a minute sees everybody move. */
  hurry(): void {
    this.#isHurrying = true;
    this.#restSeconds = Math.min(this.#restSeconds, this.#random.between(0, 120));
  }

  place(): { latitude: number; longitude: number; accuracy_m: number } {
    return { ...this.#where(this.#at), accuracy_m: 8 };
  }

  /** What the phone sends between two times. */
  wander(from: number, to: number, options: { everySeconds: number; battery: (share: number) => number }): Position[] {
    const points: Position[] = [];
    for (let time = from; time < to; time += options.everySeconds * 1000) {
      this.#step(options.everySeconds);
      points.push(this.#seen(time, options.battery((time - from) / (to - from))));
    }
    return points;
  }

  /** The same in quickened time: more way than the clock would allow. */
  quickened(from: number, to: number, times: number, battery: number): Position[] {
    const points: Position[] = [];
    for (let time = from + 2000; time <= to; time += 2000) {
      this.#step(2 * times);
      points.push(this.#seen(time, battery));
    }
    return points;
  }

  #seen(time: number, battery: number): Position {
    const wobble = () => this.#random.gaussian() * 2.5;
    const accuracy_m = Math.round(5 + Math.abs(this.#random.gaussian()) * 5);
    return {
      recorded_at: new Date(time).toISOString(),
      ...this.#where({ x: this.#at.x + wobble(), y: this.#at.y + wobble() }),
      accuracy_m,
      speed_mps: Math.round(this.#speed_mps * 10) / 10,
      battery_pct: Math.round(Math.min(100, Math.max(1, battery))),
    };
  }

  #step(seconds: number): void {
    let left = seconds;
    while (left > 0) {
      if (this.#restSeconds > 0) {
        const rest = Math.min(left, this.#restSeconds);
        this.#restSeconds -= rest;
        left -= rest;
        this.#speed_mps = 0;
        if (this.#restSeconds <= 0) this.#way = this.#streetsTo(this.#site());
        continue;
      }
      const next = this.#way[0];
      if (!next) {
        this.#restSeconds = this.#isHurrying ? this.#random.between(40, 240) : this.#random.between(480, 2100);
        continue;
      }
      this.#speed_mps = Math.max(3, Math.min(15, 9.5 + this.#random.gaussian() * 2));
      const [dx, dy] = [next.x - this.#at.x, next.y - this.#at.y];
      const far = Math.hypot(dx, dy);
      const step = Math.min(far, this.#speed_mps * left);
      if (far > 0) this.#at = { x: this.#at.x + (dx * step) / far, y: this.#at.y + (dy * step) / far };
      left -= step / this.#speed_mps;
      if (far - step < 0.5) {
        this.#way.shift();
        // A light, now and then.
        if (this.#random.between(0, 1) < 0.15) left -= Math.min(left, this.#random.between(5, 30));
      }
    }
  }

  /** Corners on the way: a few blocks along, a few across, until there. */
  #streetsTo(site: Corner): Corner[] {
    const corners: Corner[] = [];
    let { x, y } = this.#at;
    let isAlong = this.#random.between(0, 1) < 0.5;
    while (Math.abs(site.x - x) > 1 || Math.abs(site.y - y) > 1) {
      const blocks = Math.ceil(this.#random.between(1, 7)) * block_m;
      if (isAlong) x += Math.sign(site.x - x) * Math.min(Math.abs(site.x - x), blocks);
      else y += Math.sign(site.y - y) * Math.min(Math.abs(site.y - y), blocks);
      corners.push({ x, y });
      isAlong = !isAlong;
    }
    return corners;
  }

  /** Somewhere in town, rather in the middle. */
  #site(): Corner {
    const spread = () => Math.round((this.#random.gaussian() * 1900) / block_m) * block_m;
    return { x: spread(), y: spread() };
  }

  #where({ x, y }: Corner): { latitude: number; longitude: number } {
    const { latitude, longitude, turned } = this.#city;
    const [east, north] = [x * Math.cos(turned) - y * Math.sin(turned), x * Math.sin(turned) + y * Math.cos(turned)];
    return {
      latitude: round(latitude + north / metresPerDegree),
      longitude: round(longitude + east / (metresPerDegree * Math.cos((latitude * Math.PI) / 180))),
    };
  }
}

const round = (degrees: number) => Math.round(degrees * 1e6) / 1e6;
