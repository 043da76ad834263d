// A receipt as a picture, drawn without a library, so that the demo has something to look at.

import { crc32, deflateSync } from 'node:zlib';

/** Five columns a letter, the lowest bit on top: the font of many small displays. */
const font: Record<string, string> = {
  '0': '3e5149453e',
  '1': '00427f4000',
  '2': '4261514946',
  '3': '2141494d33',
  '4': '1814127f10',
  '5': '2745454539',
  '6': '3c4a494931',
  '7': '4121110907',
  '8': '3649494936',
  '9': '464949291e',
  A: '7c1211127c',
  B: '7f49494936',
  C: '3e41414122',
  D: '7f4141413e',
  E: '7f49494941',
  F: '7f09090901',
  G: '3e41415173',
  H: '7f0808087f',
  I: '00417f4100',
  J: '2040413f01',
  K: '7f08142241',
  L: '7f40404040',
  M: '7f021c027f',
  N: '7f0408107f',
  O: '3e4141413e',
  P: '7f09090906',
  Q: '3e4151215e',
  R: '7f09192946',
  S: '2649494932',
  T: '03017f0103',
  U: '3f4040403f',
  V: '1f2040201f',
  W: '3f4038403f',
  X: '6314081463',
  Y: '0304780403',
  Z: '6159494d43',
  '.': '0060600000',
  ',': '0080703000',
  '-': '0808080808',
  ':': '0000140000',
  '/': '2010080402',
};

const scale = 3;
const [width, letters] = [372, 18];

export function receiptPicture(description: string, amount: number): Buffer {
  const net = amount / 1.22;
  const line = (left: string, right: string) =>
    left.slice(0, letters - right.length - 1).padEnd(letters - right.length) + right;
  const lines = [
    '',
    'ALPENMARKT D.O.O.',
    'CESTA 12',
    '------------------',
    line(description.toUpperCase(), ''),
    '',
    line('NET', net.toFixed(2)),
    line('VAT 22', (amount - net).toFixed(2)),
    '------------------',
    line('TOTAL EUR', amount.toFixed(2)),
    '',
    'THANK YOU',
    '',
  ];
  const height = lines.length * 11 * scale + 12;
  const pixels = Buffer.alloc((width + 1) * height, 0xfb);
  for (let y = 0; y < height; y += 1) pixels[y * (width + 1)] = 0;
  for (const [row, text] of lines.entries()) {
    for (const [column, letter] of [...text.normalize('NFKD')].entries()) {
      const shape = Buffer.from(font[letter] ?? '', 'hex');
      for (const [dx, bits] of shape.entries()) {
        for (let dy = 0; dy < 8; dy += 1) {
          if (((bits >> dy) & 1) === 0) continue;
          const [left, top] = [24 + (column * 6 + dx) * scale, 8 + (row * 11 + dy) * scale];
          for (let y = top; y < top + scale; y += 1)
            pixels.fill(0x30, y * (width + 1) + 1 + left, y * (width + 1) + 1 + left + scale);
        }
      }
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  // Eight bits of grey.
  header.set([8, 0, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(pixels)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}
