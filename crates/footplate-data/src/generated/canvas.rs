//! A small picture of linear-light RGB, and strokes on it. Coordinates are 0 to 1 from the upper left.

use crate::rng::SampleRng;

/// Red, green and blue, 0 to 1 (more where light is too bright for the picture).
pub(super) type Color = [f32; 3];

pub(super) struct Canvas {
    size: usize,
    pixels: Vec<Color>,
}

pub(super) fn mixed(a: Color, b: Color, share: f32) -> Color {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * share)
}

pub(super) fn scaled(color: Color, factor: f32) -> Color {
    color.map(|c| c * factor)
}

impl Canvas {
    pub(super) fn new(size: usize) -> Self {
        Self { size, pixels: vec![[0.0; 3]; size * size] }
    }

    /// Changes each pixel by its place and colour.
    pub(super) fn each(&mut self, mut change: impl FnMut(f32, f32, Color) -> Color) {
        let size = self.size;
        for (i, pixel) in self.pixels.iter_mut().enumerate() {
            let (x, y) = ((i % size) as f32 + 0.5, (i / size) as f32 + 0.5);
            *pixel = change(x / size as f32, y / size as f32, *pixel);
        }
    }

    /// A filled rectangle with soft edges of about a pixel.
    pub(super) fn rectangle(&mut self, [left, top, right, bottom]: [f32; 4], color: Color) {
        let soft = self.size as f32;
        self.each(|x, y, old| {
            let inside = [x - left, right - x, y - top, bottom - y];
            let depth = inside.into_iter().fold(f32::MAX, f32::min);
            mixed(old, color, (depth * soft + 0.5).clamp(0.0, 1.0))
        });
    }

    /// A filled disc with a soft edge.
    pub(super) fn disc(&mut self, [cx, cy]: [f32; 2], radius: f32, color: Color) {
        let soft = self.size as f32;
        self.each(|x, y, old| {
            let distance = ((x - cx) * (x - cx) + (y - cy) * (y - cy)).sqrt();
            mixed(old, color, ((radius - distance) * soft + 0.5).clamp(0.0, 1.0))
        });
    }

    /// Light around a lamp, falling off with the square of the distance.
    pub(super) fn glow(&mut self, [cx, cy]: [f32; 2], radius: f32, color: Color) {
        self.each(|x, y, old| {
            let square = ((x - cx) * (x - cx) + (y - cy) * (y - cy)) / (radius * radius);
            let light = 1.0 / (1.0 + square * 4.0);
            [0, 1, 2].map(|c| old[c] + color[c] * light * light)
        });
    }

    /// A box blur of `2 radius + 1` pixels, in both directions.
    pub(super) fn blur(&mut self, radius: usize) {
        if radius == 0 {
            return;
        }
        for step in [1, self.size] {
            let old = self.pixels.clone();
            let size = self.size;
            for (i, pixel) in self.pixels.iter_mut().enumerate() {
                let along = if step == 1 { i % size } else { i / size };
                let (from, to) = (along.saturating_sub(radius), (along + radius).min(size - 1));
                let start = i - along * step;
                let mut sum = [0.0; 3];
                for place in from..=to {
                    let other = old[start + place * step];
                    sum = [0, 1, 2].map(|c| sum[c] + other[c]);
                }
                *pixel = scaled(sum, 1.0 / (to - from + 1) as f32);
            }
        }
    }

    /// Noise as of a sensor: the sum of four even draws for each channel.
    pub(super) fn noise(&mut self, strength: f32, rng: &mut SampleRng) {
        for pixel in &mut self.pixels {
            *pixel = pixel.map(|c| {
                let sum: f32 = (0..4).map(|_| rng.unit_f32()).fold(-2.0, |a, b| a + b);
                c + sum * strength
            });
        }
    }

    /// As bytes, row by row; the square root stands for the eye's and the file's gamma.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let byte = |c: f32| (c.clamp(0.0, 1.0).sqrt() * 255.0 + 0.5) as u8;
        self.pixels.iter().flat_map(|pixel| pixel.map(byte)).collect()
    }
}
