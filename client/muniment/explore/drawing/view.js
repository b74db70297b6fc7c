// Pan and zoom of an SVG: by pointer, wheel with Ctrl, pinch, buttons and keys.

const LEAST = 0.05;
const GREATEST = 4;
const STEP = 1.25;

export class View {
  // `svg` has one group, `inside`, that is moved; `size()` tells the drawing's width and height.
  constructor(svg, inside, size) {
    Object.assign(this, { svg, inside, size, scale: 1, x: 0, y: 0, pointers: new Map(), moved: 0 });
    svg.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    svg.addEventListener('pointerdown', (event) => this.#down(event));
    svg.addEventListener('pointermove', (event) => this.#move(event));
    for (const kind of ['pointerup', 'pointercancel', 'lostpointercapture']) {
      svg.addEventListener(kind, (event) => this.pointers.delete(event.pointerId));
    }
  }

  get window() {
    return { width: this.svg.clientWidth || 1, height: this.svg.clientHeight || 1 };
  }

  // The whole drawing, or as much as stays legible around a place.
  fit(around) {
    const { width, height } = this.window;
    const size = this.size();
    const whole = Math.min(width / size.width, height / size.height, 1);
    this.scale = Math.max(whole, 0.6);
    if (whole < this.scale && around) return this.centre(around);
    this.x = (width - size.width * this.scale) / 2;
    this.y = (height - size.height * this.scale) / 2;
    this.#apply();
  }

  // The whole drawing, however small.
  fitWhole() {
    const { width, height } = this.window;
    const size = this.size();
    this.scale = Math.max(LEAST, Math.min(width / size.width, height / size.height, 1));
    this.x = (width - size.width * this.scale) / 2;
    this.y = (height - size.height * this.scale) / 2;
    this.#apply();
  }

  centre({ x, y }) {
    const { width, height } = this.window;
    this.x = width / 2 - x * this.scale;
    this.y = height / 2 - y * this.scale;
    this.#apply();
  }

  // Moves a place into the window, no farther than needed.
  reveal({ x, y }, margin) {
    const { width, height } = this.window;
    const at = { x: x * this.scale + this.x, y: y * this.scale + this.y };
    const into = (value, most) => Math.max(margin, Math.min(value, most - margin));
    this.by(into(at.x, width) - at.x, into(at.y, height) - at.y);
  }

  by(x, y) {
    this.x += x;
    this.y += y;
    this.#apply();
  }

  zoom(factor, at = { x: this.window.width / 2, y: this.window.height / 2 }) {
    const scale = Math.max(LEAST, Math.min(GREATEST, this.scale * factor));
    this.x = at.x - ((at.x - this.x) * scale) / this.scale;
    this.y = at.y - ((at.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.#apply();
  }

  closer() { this.zoom(STEP); }

  farther() { this.zoom(1 / STEP); }

  #apply() {
    this.inside.setAttribute('transform', `translate(${this.x} ${this.y}) scale(${this.scale})`);
  }

  #at(event) {
    const box = this.svg.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY / 300), this.#at(event));
  }

  #down(event) {
    if (event.button !== 0) return;
    this.pointers.set(event.pointerId, this.#at(event));
    this.moved = 0;
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#at(event);
    this.moved += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
    if (this.moved > 4 && !this.svg.hasPointerCapture(event.pointerId)) {
      this.svg.setPointerCapture(event.pointerId);
    }
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const far = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1;
      this.zoom(far(now) / far(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    } else {
      this.by(now.x - before.x, now.y - before.y);
    }
    this.pointers.set(event.pointerId, now);
  }
}
