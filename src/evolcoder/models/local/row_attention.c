/* Attention of one new token a row over that row's own keys and values; heads share keys in groups of GROUP.

   Compiled on the machine where it runs (row_attention.py), with GROUP, WIDTH (of a head, a multiple of 16)
   and, for bfloat16, BF16 defined. Sums are in fp32. A column that the mask hides is not read. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define PARTS (WIDTH / LANES)
#define HIDDEN (-1e30f) /* a mask below this hides */

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

#ifdef BF16
typedef uint16_t number;
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));

static inline floats load(const number *p) {
    halves h;
    memcpy(&h, p, sizeof h);
    return (floats)(__builtin_convertvector(h, words) << 16);
}

static inline float value(number x) {
    uint32_t w = (uint32_t)x << 16;
    float f;
    memcpy(&f, &w, sizeof f);
    return f;
}

static inline void store(number *p, floats f) {
    words w = (words)f, nan = (words)((w & 0x7fffffff) > 0x7f800000);
    words nearest = (w + 0x7fff + (w >> 16 & 1)) >> 16;
    halves h = __builtin_convertvector((nan & (w >> 16 | 0x40)) | (~nan & nearest), halves);
    memcpy(p, &h, sizeof h);
}
#else
typedef float number;

static inline floats load(const number *p) {
    floats f;
    memcpy(&f, p, sizeof f);
    return f;
}

static inline float value(number x) { return x; }

static inline void store(number *p, floats f) { memcpy(p, &f, sizeof f); }
#endif

#define FOLD(a, b, low, high) (__builtin_shufflevector(a, b, low) + __builtin_shufflevector(a, b, high))
#define LOW8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HIGH8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define LOW4 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define HIGH4 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
#define LOW2 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29
#define HIGH2 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31
#define LOW1 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define HIGH1 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31

/* The sum of each of 16 vectors, as one vector. */
static inline floats sums(const floats v[LANES]) {
    floats a[8], b[4], c[2];
    for (int i = 0; i < 8; i++) a[i] = FOLD(v[2 * i], v[2 * i + 1], LOW8, HIGH8);
    for (int i = 0; i < 4; i++) b[i] = FOLD(a[2 * i], a[2 * i + 1], LOW4, HIGH4);
    for (int i = 0; i < 2; i++) c[i] = FOLD(b[2 * i], b[2 * i + 1], LOW2, HIGH2);
    return FOLD(c[0], c[1], LOW1, HIGH1);
}

/* e^x for x <= 0, within 2 units of the last place; 0 below -87. */
static inline floats exponential(floats x) {
    const floats zero = {0}, one = zero + 1.0f;
    const floats shift = zero + 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    ints tiny = x < zero - 87.0f;
    floats y = x * 1.44269504f + shift;
    floats n = y - shift;
    floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
    floats p = zero + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + one;
    ints power = __builtin_convertvector(n, ints) + 127;
    return (floats)((ints)(p * (floats)(power << 23)) & ~tiny);
}

/* Ask what is read next into the cache: the rows are far apart in memory, and short. */
static inline void ask(const number *p) {
    for (int d = 0; d < WIDTH; d += 64 / (int)sizeof(number)) __builtin_prefetch(p + d);
}

/* Strides count numbers: of a row, a head, a column. Each row has `columns` of its own; the mask has one line
   a row, or is null.
   `out` is rows x key heads x GROUP x WIDTH, dense. Returns 0, or 1 where memory is short. */
int row_attention(
    const number *query, const int64_t query_strides[2],
    const number *keys, const int64_t key_strides[3],
    const number *values, const int64_t value_strides[3],
    const number *mask, int64_t mask_stride,
    number *out, int64_t rows, int64_t heads, const int64_t *columns, float scale
) {
    int64_t most = 0;
    for (int64_t row = 0; row < rows; row++) most = columns[row] > most ? columns[row] : most;
    int64_t room = (most + LANES - 1) / LANES * LANES;
    float *scores = aligned_alloc(64, sizeof(float) * GROUP * room + 64 * (room == 0));
    int32_t *seen = malloc(sizeof(int32_t) * (room + 1));
    if (!scores || !seen) {
        free(scores);
        free(seen);
        return 1;
    }
    for (int64_t row = 0; row < rows; row++) {
        const number *line = mask ? mask + row * mask_stride : 0;
        int64_t n = 0;
        for (int64_t c = 0; c < columns[row]; c++)
            if (!line || value(line[c]) > HIDDEN) seen[n++] = (int32_t)c;
        for (int64_t head = 0; head < heads; head++) {
            const number *k = keys + row * key_strides[0] + head * key_strides[1];
            const number *v = values + row * value_strides[0] + head * value_strides[1];
            const number *next = head + 1 < heads ? k + key_strides[1]
                : row + 1 < rows ? keys + (row + 1) * key_strides[0] : k;
            floats q[GROUP][PARTS], top[GROUP];
            for (int g = 0; g < GROUP; g++) {
                const number *p = query + row * query_strides[0] + (head * GROUP + g) * query_strides[1];
                for (int d = 0; d < PARTS; d++) q[g][d] = load(p + d * LANES) * scale;
                top[g] = (floats){0} - 3.4e38f;
            }
            for (int64_t at = 0; at < n; at += LANES) {
                floats tile[LANES][PARTS], added = {0};
                int filled = n - at < LANES ? (int)(n - at) : LANES;
                for (int i = 0; i < LANES; i++) {
                    int32_t c = seen[at + (i < filled ? i : 0)];
                    for (int d = 0; d < PARTS; d++) tile[i][d] = load(k + c * key_strides[2] + d * LANES);
                    ask(v + c * value_strides[2]);
                    added[i] = i >= filled ? -3.4e38f : line ? value(line[c]) : 0.0f;
                }
                for (int g = 0; g < GROUP; g++) {
                    floats products[LANES];
                    for (int i = 0; i < LANES; i++) {
                        floats sum = tile[i][0] * q[g][0];
                        for (int d = 1; d < PARTS; d++) sum += tile[i][d] * q[g][d];
                        products[i] = sum;
                    }
                    floats score = sums(products) + added;
                    memcpy(scores + g * room + at, &score, sizeof score);
                    ints larger = score > top[g];
                    top[g] = (floats)((larger & (ints)score) | (~larger & (ints)top[g]));
                }
            }
            float whole[GROUP];
            for (int g = 0; g < GROUP; g++) {
                float most = top[g][0];
                for (int i = 1; i < LANES; i++) most = top[g][i] > most ? top[g][i] : most;
                floats sum = {0};
                for (int64_t at = 0; at < n; at += LANES) {
                    floats score;
                    memcpy(&score, scores + g * room + at, sizeof score);
                    score = exponential(score - most);
                    sum += score;
                    memcpy(scores + g * room + at, &score, sizeof score);
                }
                whole[g] = 0;
                for (int i = 0; i < LANES; i++) whole[g] += sum[i];
            }
            floats acc[GROUP][PARTS] = {{{0}}};
            for (int64_t at = 0; at < n; at++) {
                const number *p = v + seen[at] * value_strides[2];
                ask(next + seen[at] * key_strides[2]);
                for (int d = 0; d < PARTS; d++) {
                    floats part = load(p + d * LANES);
                    for (int g = 0; g < GROUP; g++) acc[g][d] += part * scores[g * room + at];
                }
            }
            number *answer = out + (row * heads + head) * GROUP * WIDTH;
            for (int g = 0; g < GROUP; g++)
                for (int d = 0; d < PARTS; d++) store(answer + g * WIDTH + d * LANES, acc[g][d] / whole[g]);
        }
    }
    free(scores);
    free(seen);
    return 0;
}
