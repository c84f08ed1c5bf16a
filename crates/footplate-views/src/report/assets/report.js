'use strict';
(() => {
  const say = document.createElement('div');
  say.className = 'vh';
  say.setAttribute('aria-live', 'polite');
  document.body.append(say);
  const digits = v => {
    const a = Math.abs(v);
    if (a === 0) return '0';
    if (a < 0.001) return v.toExponential(2);
    return v.toFixed(a >= 99.95 ? 0 : a >= 9.995 ? 1 : a >= 0.9995 ? 2 : a >= 0.09995 ? 3 : 4);
  };
  const place = (tip, plot, x, y) => {
    const left = x > plot.clientWidth / 2 ? x - tip.offsetWidth - 12 : x + 12;
    tip.style.left = Math.max(-40, Math.min(left, plot.clientWidth - tip.offsetWidth + 8)) + 'px';
    tip.style.top = y + 'px';
  };
  for (const plot of document.querySelectorAll('.plot')) {
    const [x0, x1, scale, xunit] = plot.dataset.x.split(' ');
    const [y0, y1, yunit] = plot.dataset.y.split(' ');
    const toX = px => +x0 + px / 1000 * (x1 - x0);
    const toY = py => +y0 + (1 - py / 300) * (y1 - y0);
    const tip = document.createElement('div');
    tip.className = 'tip';
    tip.hidden = true;
    const numbers = d => [...d.matchAll(/[ML](-?[\d.]+) (-?[\d.]+)/g)].map(m => [+m[1], +m[2]]);
    const series = [...plot.querySelectorAll('path[data-n]')].map(path => {
      const all = numbers(path.getAttribute('d'));
      if (!path.classList.contains('layer')) return {name: path.dataset.n, xs: all.map(p => p[0]), ys: all.map(p => toY(p[1]))};
      const half = all.length / 2;
      return {name: path.dataset.n, xs: all.slice(0, half).map(p => p[0]), ys: all.slice(0, half).map((p, i) => toY(p[1]) - toY(all[all.length - 1 - i][1]))};
    });
    const buttons = [...plot.querySelectorAll('.dots button')];
    for (const button of buttons) {
      const text = button.title;
      button.removeAttribute('title');
      const show = () => {
        plot.append(tip);
        tip.textContent = text;
        tip.hidden = false;
        const item = button.parentElement;
        place(tip, plot, item.offsetLeft, item.offsetTop + 12);
      };
      button.addEventListener('pointerenter', show);
      button.addEventListener('focus', show);
      button.addEventListener('pointerleave', () => { tip.hidden = true; });
      button.addEventListener('blur', () => { tip.hidden = true; });
      button.addEventListener('keydown', e => { if (e.key === 'Escape') tip.hidden = true; });
    }
    if (!series.length || buttons.length) continue;
    const grid = [...new Set(series.flatMap(s => s.xs))].sort((a, b) => a - b);
    if (!grid.length) continue;
    const line = document.createElement('div');
    line.className = 'cursor';
    line.hidden = true;
    plot.append(line, tip);
    plot.tabIndex = 0;
    plot.setAttribute('role', 'group');
    plot.setAttribute('aria-label', 'Values of the chart: left and right arrow keys');
    const unit = u => u ? ' ' + u : '';
    let at = 0;
    const show = (px, spoken) => {
      at = px;
      const lines = [plot.dataset.name + ' ' + digits(toX(px) * scale) + unit(xunit)];
      for (const s of series) {
        let best = -1;
        s.xs.forEach((x, i) => { if (best < 0 || Math.abs(x - px) < Math.abs(s.xs[best] - px)) best = i; });
        if (best >= 0) lines.push(s.name + ': ' + digits(s.ys[best]) + unit(yunit));
      }
      tip.textContent = lines.join('\n');
      line.hidden = tip.hidden = false;
      const left = px / 1000 * plot.clientWidth;
      line.style.left = left + 'px';
      place(tip, plot, left, 4);
      if (spoken) say.textContent = lines.join(', ');
    };
    const hide = () => { line.hidden = tip.hidden = true; };
    plot.addEventListener('pointermove', e => {
      const box = plot.getBoundingClientRect();
      const px = (e.clientX - box.left) / box.width * 1000;
      if (px < 0 || px > 1000) hide();
      else show(grid.reduce((a, b) => Math.abs(b - px) < Math.abs(a - px) ? b : a), false);
    });
    plot.addEventListener('pointerleave', hide);
    plot.addEventListener('blur', hide);
    plot.addEventListener('keydown', e => {
      const i = grid.findIndex(x => x >= at);
      const step = Math.max(1, Math.round(grid.length / 50));
      const next = {ArrowRight: i + step, ArrowLeft: i - step, Home: 0, End: grid.length - 1}[e.key];
      if (e.key === 'Escape') hide();
      if (next === undefined) return;
      e.preventDefault();
      show(grid[Math.max(0, Math.min(grid.length - 1, next))], true);
    });
  }
})();
