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
#define LOW1 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define HIGH1 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define LOW2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LOW4 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define HIGH4 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31

/* The sum of each of 16 vectors, as one vector, by exchanges that are one instruction each: four by four. */
static inline floats sums_of_four(const floats v[4]) {
    floats a = FOLD(v[0], v[1], LOW1, HIGH1), b = FOLD(v[2], v[3], LOW1, HIGH1);
    return FOLD(a, b, LOW2, HIGH2);
}

static inline floats sums_of_fours(const floats v[4]) {
    floats a = FOLD(v[0], v[1], LOW4, HIGH4), b = FOLD(v[2], v[3], LOW4, HIGH4);
    return FOLD(a, b, LOW4, HIGH4);
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

#if defined(BF16) && defined(__AVX512BF16__) && WIDTH % 32 == 0
#include <immintrin.h>
#define PAIRS (WIDTH / 32) /* vectors of 32 numbers, which are multiplied two and two */

/* The products of the queries, `stride` apart, and 16 columns. */
static inline void products_of_columns(
    const number *q, int64_t stride, const number *const column[LANES], floats out[GROUP]
) {
    __m512bh own[GROUP][PAIRS];
    floats fours[GROUP][4];
    for (int g = 0; g < GROUP; g++)
        for (int d = 0; d < PAIRS; d++) own[g][d] = (__m512bh)_mm512_loadu_si512(q + g * stride + d * 32);
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 4) {
        __m512bh key[4][PAIRS];
        for (int j = 0; j < 4; j++)
            for (int d = 0; d < PAIRS; d++) key[j][d] = (__m512bh)_mm512_loadu_si512(column[i + j] + d * 32);
        for (int g = 0; g < GROUP; g++) {
            __m512 sum[4];
            for (int j = 0; j < 4; j++) {
                sum[j] = _mm512_setzero_ps();
                for (int d = 0; d < PAIRS; d++) sum[j] = _mm512_dpbf16_ps(sum[j], own[g][d], key[j][d]);
            }
            fours[g][i / 4] = sums_of_four((const floats *)sum);
        }
    }
    for (int g = 0; g < GROUP; g++) out[g] = sums_of_fours(fours[g]);
}

/* Weights are kept as the products read them. */
static inline void keep(float *weights, int64_t at, floats w) {
    _mm256_storeu_si256((__m256i *)((number *)weights + at), (__m256i)_mm512_cvtneps_pbh((__m512)w));
}

/* The answer: the sums of `n` columns' values, weighted, over the `whole` weights. */
static inline void weighted(
    const float *weights, int64_t room, const float *whole, const number *v, int64_t stride, int32_t *seen,
    int64_t n, const number *next, int64_t next_stride, number *answer
) {
    __m512 sum[GROUP][PAIRS][2];
    for (int g = 0; g < GROUP; g++)
        for (int d = 0; d < PAIRS; d++) sum[g][d][0] = sum[g][d][1] = _mm512_setzero_ps();
    if (n % 2) seen[n] = seen[n - 1]; /* to fill the last pair: weighed with 0 */
    for (int64_t at = 0; at < n; at += 2) {
        ask(next + seen[at] * next_stride);
        ask(next + seen[at + 1] * next_stride);
        __m512bh weight[GROUP];
        for (int g = 0; g < GROUP; g++) {
            int32_t two;
            memcpy(&two, (const number *)(weights + g * room) + at, sizeof two);
            weight[g] = (__m512bh)_mm512_set1_epi32(two);
        }
        for (int d = 0; d < PAIRS; d++) {
            __m512i one = _mm512_loadu_si512(v + seen[at] * stride + d * 32);
            __m512i other = _mm512_loadu_si512(v + seen[at + 1] * stride + d * 32);
            __m512bh low = (__m512bh)_mm512_unpacklo_epi16(one, other);
            __m512bh high = (__m512bh)_mm512_unpackhi_epi16(one, other);
            for (int g = 0; g < GROUP; g++) {
                sum[g][d][0] = _mm512_dpbf16_ps(sum[g][d][0], weight[g], low);
                sum[g][d][1] = _mm512_dpbf16_ps(sum[g][d][1], weight[g], high);
            }
        }
    }
    for (int g = 0; g < GROUP; g++)
        for (int d = 0; d < PAIRS; d++) {
            __m256i low = (__m256i)_mm512_cvtneps_pbh(sum[g][d][0] / whole[g]);
            __m256i high = (__m256i)_mm512_cvtneps_pbh(sum[g][d][1] / whole[g]);
            __m256i even = _mm256_unpacklo_epi64(low, high), odd = _mm256_unpackhi_epi64(low, high);
            __m128i *to = (__m128i *)(answer + g * WIDTH + d * 32);
            _mm_storeu_si128(to, _mm256_castsi256_si128(even));
            _mm_storeu_si128(to + 1, _mm256_castsi256_si128(odd));
            _mm_storeu_si128(to + 2, _mm256_extracti128_si256(even, 1));
            _mm_storeu_si128(to + 3, _mm256_extracti128_si256(odd, 1));
        }
}
#else
static inline void products_of_columns(
    const number *q, int64_t stride, const number *const column[LANES], floats out[GROUP]
) {
    floats own[GROUP][PARTS], tile[LANES][PARTS];
    for (int i = 0; i < LANES; i++)
        for (int d = 0; d < PARTS; d++) tile[i][d] = load(column[i] + d * LANES);
    for (int g = 0; g < GROUP; g++) {
        floats products[LANES];
        for (int d = 0; d < PARTS; d++) own[g][d] = load(q + g * stride + d * LANES);
        for (int i = 0; i < LANES; i++) {
            products[i] = tile[i][0] * own[g][0];
            for (int d = 1; d < PARTS; d++) products[i] += tile[i][d] * own[g][d];
        }
        floats fours[4];
        for (int i = 0; i < 4; i++) fours[i] = sums_of_four(products + 4 * i);
        out[g] = sums_of_fours(fours);
    }
}

static inline void keep(float *weights, int64_t at, floats w) { memcpy(weights + at, &w, sizeof w); }

static inline void weighted(
    const float *weights, int64_t room, const float *whole, const number *v, int64_t stride, int32_t *seen,
    int64_t n, const number *next, int64_t next_stride, number *answer
) {
    floats sum[GROUP][PARTS] = {{{0}}};
    for (int64_t at = 0; at < n; at++) {
        const number *p = v + seen[at] * stride;
        ask(next + seen[at] * next_stride);
        for (int d = 0; d < PARTS; d++) {
            floats part = load(p + d * LANES);
            for (int g = 0; g < GROUP; g++) sum[g][d] += part * weights[g * room + at];
        }
    }
    for (int g = 0; g < GROUP; g++)
        for (int d = 0; d < PARTS; d++) store(answer + g * WIDTH + d * LANES, sum[g][d] / whole[g]);
}
#endif

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
            const number *q = query + row * query_strides[0] + head * GROUP * query_strides[1];
            floats top[GROUP];
            for (int g = 0; g < GROUP; g++) top[g] = (floats){0} - 3.4e38f;
            for (int64_t at = 0; at < n; at += LANES) {
                floats tile[GROUP], added = {0};
                const number *column[LANES];
                int filled = n - at < LANES ? (int)(n - at) : LANES;
                for (int i = 0; i < LANES; i++) {
                    int32_t c = seen[at + (i < filled ? i : 0)];
                    column[i] = k + c * key_strides[2];
                    ask(v + c * value_strides[2]);
                    if (line) added[i] = value(line[c]);
                    if (i >= filled) added[i] = -3.4e38f;
                }
                products_of_columns(q, query_strides[1], column, tile);
                for (int g = 0; g < GROUP; g++) {
                    floats score = tile[g] * scale + added;
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
                    keep(scores + g * room, at, score);
                }
                whole[g] = 0;
                for (int i = 0; i < LANES; i++) whole[g] += sum[i];
            }
            number *answer = out + (row * heads + head) * GROUP * WIDTH;
            weighted(scores, room, whole, v, value_strides[2], seen, n, next, key_strides[2], answer);
        }
    }
    free(scores);
    free(seen);
    return 0;
}
