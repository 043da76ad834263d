import { kernelOf, serve } from '../_shared/boot.ts';
import { readEnv } from '../_shared/env.ts';
import { createHandler } from './handler.ts';

serve(createHandler(kernelOf('hello', readEnv(Deno.env.toObject(), {}))));
