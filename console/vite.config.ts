import { defineConfig, type Plugin } from 'vite';
import { basemapFiles } from './basemap.ts';

/** The vendored basemap is made from packages, so that no generated file lies in the repository. */
function basemap(): Plugin {
  return {
    name: 'fieldtrack-basemap',
    generateBundle() {
      for (const [fileName, source] of basemapFiles()) this.emitFile({ type: 'asset', fileName, source });
    },
    configureServer(server) {
      const files = basemapFiles();
      server.middlewares.use((request, response, next) => {
        const source = files.get((request.url ?? '').replace(/^.*?(basemap\/[\w.-]+)(\?.*)?$/, '$1'));
        if (source === undefined) return next();
        response.setHeader('content-type', 'application/json');
        response.end(source);
      });
    },
  };
}

/**
 * For hosts that set no headers. The gateway of `npm start` sends a narrower policy as a header; both hold then.
 * Another origin is allowed only where a hosted project is one: calls to it, and pictures of receipts from it.
 */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "font-src 'self'",
  "worker-src 'self'",
  "img-src 'self' data: blob: https:",
  "connect-src 'self' https:",
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

function contentSecurityPolicy(): Plugin {
  return {
    name: 'fieldtrack-content-security-policy',
    apply: 'build',
    transformIndexHtml: () => [
      { tag: 'meta', attrs: { 'http-equiv': 'Content-Security-Policy', content: policy }, injectTo: 'head-prepend' },
    ],
  };
}

export default defineConfig({
  root: import.meta.dirname,
  // Relative, so that the build works under any path of any static host.
  base: './',
  plugins: [basemap(), contentSecurityPolicy()],
  build: {
    target: 'es2023',
    // A data: URL of a font or a worker would need a wider policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1200,
    reportCompressedSize: false,
  },
});
