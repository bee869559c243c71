// Painting a mask: brush, eraser, polygon, several objects, undo; with mouse, pen, finger or keys.

import {fillDisc, fillLine, fillPolygon, idsOf, runsOf} from "./masks.js";

const STEPS = 60; // that can be undone
const CLOSE = 8; // px on the screen: so near its first corner a click closes a polygon

export const ARROWS = {
  ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0]};

/** Where an event is on a canvas, in pixels of a frame of [H, W]. */
export function pixelAt(canvas, [H, W], {clientX, clientY}) {
  const box = canvas.getBoundingClientRect();
  return [(clientX - box.left) * W / box.width - 0.5, (clientY - box.top) * H / box.height - 0.5];
}

export class Painter {
  /** canvas: its own pixels are the frame's. changed: is called after every change. */
  constructor(canvas, changed) {
    Object.assign(this, {canvas, changed, on: false, tool: "brush", radius: 6, object: 1,
      ids: null, shape: null, before: [], corners: [], at: null, from: null});
    canvas.addEventListener("pointerdown", event => this._down(event));
    canvas.addEventListener("pointermove", event => this._move(event));
    for (const end of ["pointerup", "pointercancel"])
      canvas.addEventListener(end, event => { if (event.isPrimary) this.from = null; });
    canvas.addEventListener("pointerleave", () => { if (!this.from) this._show(null); });
    canvas.addEventListener("keydown", event => this._key(event));
  }

  /** Paint on a mask, ids of [H, W] pixels. */
  begin(ids, shape) {
    Object.assign(this, {on: true, ids: ids.slice(), shape, before: [], corners: [], at: null});
    this.canvas.style.touchAction = "none";
    this.changed();
  }

  end() {
    this.on = false;
    this.canvas.style.touchAction = "manipulation";
  }

  _show(at) {
    this.at = at;
    if (this.on) this.changed();
  }

  _remember() {
    this.before.push(runsOf(this.ids));
    if (this.before.length > STEPS) this.before.shift();
  }

  get value() {
    return this.tool === "eraser" ? 0 : this.object;
  }

  _down(event) {
    if (!this.on || event.button > 0 || !event.isPrimary) return; // a second finger paints nothing
    event.preventDefault();
    this.canvas.focus({preventScroll: true});
    this.canvas.setPointerCapture(event.pointerId);
    const at = pixelAt(this.canvas, this.shape, event);
    if (this.tool === "polygon") return this.corner(at);
    this._remember();
    this.from = at;
    fillDisc(this.ids, this.shape, ...at, this.radius, this.value);
    this._show(at);
  }

  _move(event) {
    if (!this.on || !event.isPrimary) return;
    const at = pixelAt(this.canvas, this.shape, event);
    if (this.from) {
      fillLine(this.ids, this.shape, this.from, at, this.radius, this.value);
      this.from = at;
    }
    this._show(at);
  }

  /** One more corner; near the first one it closes the polygon. */
  corner(at) {
    const [first] = this.corners, box = this.canvas.getBoundingClientRect();
    const near = CLOSE * this.shape[1] / box.width;
    if (this.corners.length > 2 && Math.hypot(at[0] - first[0], at[1] - first[1]) < near)
      return this.close();
    this.corners.push(at);
    this._show(at);
  }

  /** Fill the polygon. */
  close() {
    if (this.corners.length > 2) {
      this._remember();
      fillPolygon(this.ids, this.shape, this.corners, this.object);
    }
    this.corners = [];
    this.changed();
  }

  undo() {
    if (this.corners.length) this.corners.pop();
    else if (this.before.length) this.ids = idsOf(this.before.pop(), this.ids.length);
    this.changed();
  }

  clear() {
    this._remember();
    this.ids.fill(0);
    this.corners = [];
    this.changed();
  }

  /** Arrow keys move the brush, the space bar paints or sets a corner, Enter closes a polygon. */
  _key(event) {
    if (!this.on || event.altKey || event.metaKey) return;
    const [H, W] = this.shape, at = this.at ?? [W / 2, H / 2];
    const step = event.shiftKey ? 1 : Math.max(2, this.radius);
    const move = ARROWS[event.key];
    if (move) {
      this._show([W, H].map((n, d) => Math.min(Math.max(at[d] + step * move[d], 0), n - 1)));
    } else if (event.key === " ") {
      if (this.tool === "polygon") this.corner(at);
      else {
        this._remember();
        fillDisc(this.ids, this.shape, ...at, this.radius, this.value);
        this._show(at);
      }
    } else if (event.key === "Enter" && this.corners.length) this.close();
    else if (event.key === "u" || (event.key === "z" && event.ctrlKey)) this.undo();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The brush and the open polygon, over the mask. */
  drawTool(pen) {
    const scale = this.shape[1] / this.canvas.getBoundingClientRect().width;
    const stroke = path => {
      for (const [colour, width] of [["#000", 3], ["#fff", 1.5]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = width * scale;
        pen.beginPath();
        path();
        pen.stroke();
      }
    };
    if (this.corners.length) {
      const line = this.at ? [...this.corners, this.at] : this.corners;
      stroke(() => line.forEach(([x, y]) => pen.lineTo(x + 0.5, y + 0.5)));
      const [x, y] = this.corners[0];
      stroke(() => pen.arc(x + 0.5, y + 0.5, 4 * scale, 0, 7));
    }
    if (this.at) {
      const radius = this.tool === "polygon" ? 2 * scale : this.radius + 0.5;
      stroke(() => pen.arc(this.at[0] + 0.5, this.at[1] + 0.5, radius, 0, 7));
    }
  }
}
