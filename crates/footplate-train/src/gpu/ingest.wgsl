// Bytes `[n, h, w, 3]` to numbers `[n, 3, h, w]`. What a byte becomes is looked up, so that every device gives the
// very numbers that the processor would.

struct Shape {
    // n * h * w
    pixels: u32,
    // h * w
    plane: u32,
}

@group(0) @binding(0) var<storage, read> bytes: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<f32, 768>;
@group(0) @binding(2) var<uniform> shape: Shape;
@group(0) @binding(3) var<storage, read_write> numbers: array<f32>;
// The same two for numbers of 16 bits: the lower half of a word holds one, and a word of the tensor two.
@group(0) @binding(1) var<storage, read> half_table: array<u32, 768>;
@group(0) @binding(3) var<storage, read_write> halves: array<u32>;

@compute @workgroup_size(64)
fn ingest(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    // Four pixels each: three whole words.
    let four = id.y * groups.x * 64u + id.x;
    let first = four * 4u;
    if first >= shape.pixels {
        return;
    }
    // The last words are there even where there are no pixels: the buffer is as long as its padded contents.
    var words = array<u32, 3>(bytes[four * 3u], 0u, 0u);
    let last = arrayLength(&bytes) - 1u;
    words[1] = bytes[min(four * 3u + 1u, last)];
    words[2] = bytes[min(four * 3u + 2u, last)];
    let count = min(4u, shape.pixels - first);
    for (var i = 0u; i < count; i++) {
        let image = (first + i) / shape.plane;
        let to = image * 3u * shape.plane + (first + i) - image * shape.plane;
        for (var channel = 0u; channel < 3u; channel++) {
            let at = i * 3u + channel;
            let byte = (words[at / 4u] >> (at % 4u * 8u)) & 0xffu;
            numbers[to + channel * shape.plane] = table[channel * 256u + byte];
        }
    }
}

// The number at `index` of the tensor.
fn half_at(index: u32) -> u32 {
    let in_planes = index / shape.plane;
    let channel = in_planes % 3u;
    let pixel = in_planes / 3u * shape.plane + index % shape.plane;
    let at = pixel * 3u + channel;
    let byte = (bytes[at / 4u] >> (at % 4u * 8u)) & 0xffu;
    return half_table[channel * 256u + byte];
}

@compute @workgroup_size(64)
fn ingest_halves(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    // A word each: two numbers, which may belong to two planes.
    let word = id.y * groups.x * 64u + id.x;
    let count = shape.pixels * 3u;
    if word * 2u >= count {
        return;
    }
    var pair = half_at(word * 2u);
    if word * 2u + 1u < count {
        pair |= half_at(word * 2u + 1u) << 16u;
    }
    halves[word] = pair;
}
