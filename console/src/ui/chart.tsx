import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { effect } from '@preact/signals';
import { isDark } from '../theme.ts';

export type ChartOptions = (colour: (name: string) => string) => Omit<uPlot.Options, 'width' | 'height'>;

/** A uPlot of its container's width, in the page's colours; drawn again when they change. */
export function Chart(props: {
  label: string;
  data: uPlot.AlignedData;
  options: ChartOptions;
  height: number;
  onReady?: (plot: uPlot) => void;
}) {
  const { label, data, options, height, onReady } = props;
  const container = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = container.current;
    if (!element) return;
    let plot: uPlot | undefined;
    const draw = () => {
      plot?.destroy();
      const style = getComputedStyle(document.documentElement);
      const probe = document.createElement('i');
      element.append(probe);
      const colour = (name: string) => {
        probe.style.color = style.getPropertyValue(`--${name}`);
        return getComputedStyle(probe).color;
      };
      plot = new uPlot({ ...options(colour), width: Math.max(element.clientWidth, 120), height }, data, element);
      probe.remove();
      onReady?.(plot);
    };
    const stop = effect(() => {
      isDark.value;
      // The colours change with the next style pass.
      requestAnimationFrame(draw);
    });
    const resized = new ResizeObserver(() => plot?.setSize({ width: Math.max(element.clientWidth, 120), height }));
    resized.observe(element);
    return () => {
      stop();
      resized.disconnect();
      plot?.destroy();
      plot = undefined;
    };
  }, [data, height]);
  return <div ref={container} class="chart" role="img" aria-label={label} style={{ height: `${height}px` }} />;
}

export const axis = (colour: (name: string) => string): uPlot.Axis => ({
  stroke: colour('muted'),
  font: "12px 'Geist Variable', sans-serif",
  grid: { stroke: colour('line'), width: 1 },
  ticks: { show: false },
});
