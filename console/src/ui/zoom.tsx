import { t } from '../i18n/index.ts';
import type { MapView } from '../map/map.ts';
import { Icon } from './icons.tsx';

/** The map's own buttons, in the page's style. */
export function Zoom({ view }: { view: MapView | undefined }) {
  return (
    <div class="zoom">
      <button type="button" class="icon-button" aria-label={t().zoomIn} onClick={() => view?.map.zoomIn()}>
        <Icon name="plus" />
      </button>
      <button type="button" class="icon-button" aria-label={t().zoomOut} onClick={() => view?.map.zoomOut()}>
        <Icon name="minus" />
      </button>
    </div>
  );
}
