import '@fontsource-variable/geist/wght.css';
import './styles.css';
import { render } from 'preact';
import { connect } from './api.ts';
import { App } from './app.tsx';
import { readConfig } from './config.ts';
import { preferredLanguage, speak } from './i18n/index.ts';
import { Unconfigured } from './screens/sign-in.tsx';
import { followSession } from './session.ts';

const root = document.getElementById('app');
if (!root) throw new Error('index.html has no #app');

const [config] = await Promise.all([
  readConfig().catch((error: unknown) => (error instanceof Error ? error : new Error(String(error)))),
  speak(preferredLanguage()),
]);
if (config instanceof Error) render(<Unconfigured why={config.message} />, root);
else {
  connect(config);
  followSession();
  render(<App />, root);
}
