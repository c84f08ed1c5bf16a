//! A railway signal beside the line: sky, ground, trees, a mast, the signal's head and its lamps, weather.

use super::canvas::{Canvas, Color, mixed, scaled};
use crate::rng::SampleRng;

/// Names of the classes: signal aspects, which differ by the colours and positions of their lamps, also if mirrored.
pub const CLASSES: [&str; 8] =
    ["stop", "caution", "preliminary_caution", "clear", "flashing_caution", "shunt", "calling_on", "dark"];

const RED: Color = [1.0, 0.03, 0.02];
const YELLOW: Color = [1.0, 0.55, 0.02];
const GREEN: Color = [0.02, 0.9, 0.45];
const WHITE: Color = [0.95, 0.95, 1.0];
const UNLIT: Color = [0.025, 0.025, 0.03];

/// Positions of the lamps above the middle of the signal's head, in units of its height.
const PLACES: [[f32; 2]; 4] = [[0.0, -0.36], [0.0, -0.12], [0.0, 0.12], [0.0, 0.36]];

/// The colours of the four lamps, from above, and whether the small white lamps are lit: two side by side
/// below the head, or one of them.
struct Aspect {
    lamps: [Option<Color>; 4],
    small: [bool; 2],
}

fn aspect(class: usize) -> Aspect {
    let (r, y, g) = (Some(RED), Some(YELLOW), Some(GREEN));
    let (lamps, small) = match CLASSES[class] {
        "stop" => ([None, None, None, r], [false; 2]),
        "caution" => ([None, None, y, None], [false; 2]),
        "preliminary_caution" => ([y, None, y, None], [false; 2]),
        "clear" => ([None, g, None, None], [false; 2]),
        "flashing_caution" => ([None, g, y, None], [false; 2]),
        "shunt" => ([None; 4], [true; 2]),
        "calling_on" => ([None, None, None, r], [true; 2]),
        _ => ([None; 4], [false; 2]),
    };
    Aspect { lamps, small }
}

/// Light and weather of a scene.
struct Conditions {
    /// Daylight, from 0.02 (night) to 1 (noon).
    daylight: f32,
    sky: Color,
    ground: Color,
    /// The share of light that comes from fog, 0 to 1.
    fog: f32,
    streaks: Option<Color>,
    noise: f32,
    blur: usize,
}

fn pick(colors: &[Color], rng: &mut SampleRng) -> Color {
    colors[rng.below(colors.len() as u64) as usize]
}

fn between(low: f32, high: f32, rng: &mut SampleRng) -> f32 {
    low + (high - low) * rng.unit_f32()
}

fn conditions(rng: &mut SampleRng) -> Conditions {
    let (daylight, skies): (f32, &[Color]) = match rng.below(4) {
        0 => (between(0.015, 0.05, rng), &[[0.3, 0.35, 0.6], [0.2, 0.2, 0.25]]),
        1 => (between(0.15, 0.35, rng), &[[0.9, 0.45, 0.25], [0.6, 0.4, 0.6], [0.5, 0.55, 0.7]]),
        _ => (between(0.5, 1.0, rng), &[[0.35, 0.6, 0.95], [0.75, 0.78, 0.8], [0.55, 0.7, 0.9]]),
    };
    let weather = rng.below(5);
    Conditions {
        daylight,
        sky: pick(skies, rng),
        ground: pick(&[[0.25, 0.22, 0.18], [0.2, 0.3, 0.12], [0.35, 0.33, 0.3], [0.8, 0.82, 0.85]], rng),
        fog: if weather == 0 { between(0.25, 0.6, rng) } else { 0.0 },
        streaks: match weather {
            1 => Some([0.6, 0.65, 0.7]),
            2 => Some([0.95, 0.95, 1.0]),
            _ => None,
        },
        noise: between(0.004, 0.03, rng),
        blur: usize::from(rng.below(4) == 0),
    }
}

/// Draws one scene; `size * size` RGB bytes.
pub(super) fn draw(class: usize, size: usize, rng: &mut SampleRng) -> Vec<u8> {
    let conditions = conditions(rng);
    let mut canvas = Canvas::new(size);
    background(&mut canvas, &conditions, rng);
    let head = Head::place(rng);
    head.draw_body(&mut canvas, &conditions, rng);
    weather(&mut canvas, &conditions, rng);
    head.draw_lamps(&mut canvas, &aspect(class), &conditions, rng);
    canvas.blur(conditions.blur);
    canvas.noise(conditions.noise, rng);
    canvas.bytes()
}

fn background(canvas: &mut Canvas, conditions: &Conditions, rng: &mut SampleRng) {
    let horizon = between(0.5, 0.85, rng);
    let (sky, ground) =
        (scaled(conditions.sky, conditions.daylight), scaled(conditions.ground, conditions.daylight));
    canvas.each(|_, y, _| if y < horizon { scaled(sky, 0.6 + 0.4 * y / horizon) } else { ground });
    for _ in 0..rng.below(5) {
        let (x, width, height) = (rng.unit_f32(), between(0.08, 0.3, rng), between(0.08, 0.45, rng));
        let dark = pick(&[[0.05, 0.12, 0.04], [0.2, 0.16, 0.13], [0.12, 0.13, 0.15], [0.3, 0.18, 0.14]], rng);
        let color = scaled(dark, conditions.daylight);
        if rng.below(2) == 0 {
            canvas.rectangle([x - width / 2.0, horizon - height, x + width / 2.0, horizon + 0.02], color);
        } else {
            canvas.disc([x, horizon - height / 2.0], width / 2.0, color);
        }
    }
    // The rails, and now and then a lit window far away: a light that is no signal.
    let rail = scaled([0.4, 0.38, 0.36], conditions.daylight);
    for x in [0.35, 0.6] {
        canvas.rectangle([x, horizon + 0.05, x + 0.02, 1.0], rail);
    }
    for _ in 0..rng.below(3) {
        let (x, y) = (rng.unit_f32(), horizon - between(0.02, 0.12, rng));
        canvas.rectangle([x, y, x + 0.03, y + 0.03], [0.5, 0.42, 0.25]);
    }
}

fn weather(canvas: &mut Canvas, conditions: &Conditions, rng: &mut SampleRng) {
    let haze = scaled([0.75, 0.77, 0.8], conditions.daylight);
    canvas.each(|_, _, old| mixed(old, haze, conditions.fog));
    if let Some(color) = conditions.streaks {
        let color = scaled(color, conditions.daylight.max(0.15));
        for _ in 0..12 + rng.below(20) {
            let (x, y, length) = (rng.unit_f32(), rng.unit_f32(), between(0.01, 0.08, rng));
            canvas.rectangle([x, y, x + 0.012, y + length], color);
        }
    }
}

/// Position and size of the signal's head.
struct Head {
    center: [f32; 2],
    height: f32,
    /// Sideways shift of a lamp for its distance from the middle.
    tilt: f32,
}

impl Head {
    fn place(rng: &mut SampleRng) -> Self {
        Self {
            center: [between(0.4, 0.6, rng), between(0.4, 0.5, rng)],
            height: between(0.5, 0.68, rng),
            tilt: between(-0.08, 0.08, rng),
        }
    }

    /// A place in units of the head's height from its middle.
    fn at(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [self.center[0] + (x - y * self.tilt) * self.height, self.center[1] + y * self.height]
    }

    fn draw_body(&self, canvas: &mut Canvas, conditions: &Conditions, rng: &mut SampleRng) {
        let gray = between(0.15, 0.5, rng);
        let [x, y] = self.center;
        canvas.rectangle([x - 0.02, y, x + 0.02, 1.0], scaled([gray; 3], conditions.daylight));
        let shade = scaled([0.03, 0.03, 0.035], 0.3 + conditions.daylight);
        let (half_width, half_height) = (self.height * 0.16, self.height * 0.52);
        canvas.rectangle([x - half_width, y - half_height, x + half_width, y + half_height], shade);
        let [_, below] = self.at([0.0, 0.62]);
        let reach = self.height * 0.22;
        canvas
            .rectangle([x - reach, below - self.height * 0.09, x + reach, below + self.height * 0.09], shade);
    }

    fn draw_lamps(&self, canvas: &mut Canvas, aspect: &Aspect, conditions: &Conditions, rng: &mut SampleRng) {
        // Lamps shine through fog and rain better than the rest is seen.
        let strength = between(0.75, 1.1, rng) * (1.0 - conditions.fog * 0.5);
        let radius = self.height * between(0.085, 0.105, rng);
        let glow = if conditions.daylight < 0.1 { 0.5 } else { 0.15 };
        let mut lamp = |place: [f32; 2], radius: f32, color: Option<Color>| {
            let at = self.at(place);
            match color {
                Some(color) => {
                    canvas.glow(at, radius * 2.0, scaled(color, glow * strength));
                    canvas.disc(at, radius, scaled(color, strength));
                    canvas.disc(at, radius * 0.4, mixed(scaled(color, strength), WHITE, 0.35));
                }
                None => canvas.disc(at, radius, UNLIT),
            }
        };
        for (place, color) in PLACES.iter().zip(aspect.lamps) {
            lamp(*place, radius, color);
        }
        for (side, lit) in [-0.13f32, 0.13].into_iter().zip(aspect.small) {
            lamp([side, 0.62], radius * 0.7, lit.then_some(WHITE));
        }
    }
}
