/* Small actor-critic networks on one core: acting, and one epoch of PPO's minibatches with Adam.

   Each function computes what its plain counterpart in grownn_hpo/ppo does (ppo_loss, by_autograd, torch's Adam), up to
   rounding; tests hold the two together. Networks this small live in the first caches, and what surrounds the
   arithmetic in Python and torch costs several times as much as the arithmetic.

   Matrices are rows of samples: [rows, width]. A linear layer's weights are kept as [inputs + 1, outputs], the biases in
   the last row. All numbers of outputs are padded to multiples of PAD, with weights, and so outputs and gradients, of 0.

   This file is compiled once for single and once for double precision (see build.py). */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef DOUBLE
typedef double real;
#define NAME(function) function##_f64
#define SQRT sqrt
#else
typedef float real;
#define NAME(function) function##_f32
#define SQRT sqrtf
#endif

/* Bytes of a vector register, and rows of a tile, so that a tile's sums stay in registers. */
#if defined(__AVX512F__)
#define REGISTER 64
#define TILE_ROWS 8
#elif defined(__AVX2__)
#define REGISTER 32
#define TILE_ROWS 6
#else
#define REGISTER 16
#define TILE_ROWS 4
#endif
#define LANES ((int)(REGISTER / sizeof(real)))
#define PAD 16

typedef real vector __attribute__((vector_size(REGISTER), aligned(sizeof(real)), may_alias));

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

enum activation { NONE, RELU, HARDTANH, TANH, GELU, SILU };

/* One linear layer's place: it reads columns [input, input + inputs) of what is below, writes [output, output + outputs)
   of its own layer, and its matrix begins at `matrix` in the vector of all values. `outputs` is padded. */
typedef struct {
    int64_t input, inputs, output, outputs, matrix;
} Part;

/* Linear layers computed side by side, [rows, width] together, and the activation behind them. */
typedef struct {
    int64_t first_part, parts, width, activation;
} Layer;

typedef struct {
    const Layer *layers;
    const Part *parts;
    int64_t depth, input_width;
} Network;

/* ---------------------------------------------------------------------------------------------- matrix products */

/* One tile of C [m, n]: += or = A [m, k] B [k, n], with a row [n] added to each row where `bias` is given.
   A's element (i, p) is a[i * across + p * along]. */
INLINE void tile(const int rows, const int registers, int64_t k, const real *a, int64_t across, int64_t along,
                 const real *b, int64_t b_width, real *c, int64_t c_width, const real *bias, int add)
{
    vector sums[TILE_ROWS][2];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < registers; j++)
            sums[i][j] = add    ? *(const vector *)(c + i * c_width + j * LANES)
                         : bias ? *(const vector *)(bias + j * LANES)
                                : (vector){0};
    for (int64_t p = 0; p < k; p++) {
        vector right[2];
#pragma GCC unroll 2
        for (int j = 0; j < registers; j++)
            right[j] = *(const vector *)(b + p * b_width + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            vector left = a[i * across + p * along] - (vector){0};
#pragma GCC unroll 2
            for (int j = 0; j < registers; j++)
                sums[i][j] += left * right[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < registers; j++)
            *(vector *)(c + i * c_width + j * LANES) = sums[i][j];
}

INLINE void columns(const int registers, int64_t m, int64_t k, const real *a, int64_t across, int64_t along,
                    const real *b, int64_t b_width, real *c, int64_t c_width, const real *bias, int add)
{
    int64_t i = 0;
    for (; i + TILE_ROWS <= m; i += TILE_ROWS)
        tile(TILE_ROWS, registers, k, a + i * across, across, along, b, b_width, c + i * c_width, c_width, bias, add);
#if TILE_ROWS > 4
    for (; i + 4 <= m; i += 4)
        tile(4, registers, k, a + i * across, across, along, b, b_width, c + i * c_width, c_width, bias, add);
#endif
    for (; i < m; i++)
        tile(1, registers, k, a + i * across, across, along, b, b_width, c + i * c_width, c_width, bias, add);
}

/* C [m, n] as `tile`; n is a multiple of PAD. */
static void product(int64_t m, int64_t n, int64_t k, const real *a, int64_t across, int64_t along, const real *b,
                    int64_t b_width, real *c, int64_t c_width, const real *bias, int add)
{
    int64_t j = 0;
    for (; j + 2 * LANES <= n; j += 2 * LANES)
        columns(2, m, k, a, across, along, b + j, b_width, c + j, c_width, bias ? bias + j : 0, add);
    for (; j < n; j += LANES)
        columns(1, m, k, a, across, along, b + j, b_width, c + j, c_width, bias ? bias + j : 0, add);
}

/* ------------------------------------------------------------------------------------------- elementwise functions */

#ifdef DOUBLE
#define exponential exp
#define hyperbolic tanh
#else
/* e^x for x within +-87 (Cephes' expf: within 2 units in the last place); 0 below, infinite above. */
INLINE float exponential(float x)
{
    float inside = x < 88.0f ? (x > -87.0f ? x : -87.0f) : 88.0f;
    float n = rintf(inside * 1.44269504f);
    float r = inside - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union { int32_t i; float f; } power = {((int32_t)n + 127) << 23};
    float y = p * power.f;
    y = x > 88.0f ? INFINITY : y;
    y = x < -87.0f ? 0.0f : y;
    return x == x ? y : x;
}

/* tanh x (Cephes' tanhf: within 2 units in the last place). */
INLINE float hyperbolic(float x)
{
    float size = fabsf(x), square = x * x;
    float p = -5.70498872745e-3f;
    p = p * square + 2.06390887954e-2f;
    p = p * square - 5.37397155531e-2f;
    p = p * square + 1.33314422036e-1f;
    p = p * square - 3.33332819422e-1f;
    float small = p * square * x + x;
    float large = 1.0f - 2.0f / (exponential(2.0f * (size < 10.0f ? size : 10.0f)) + 1.0f);
    large = x < 0.0f ? -large : large;
    float y = size < 0.625f ? small : large;
    return x == x ? y : x;
}
#endif

/* y = f(x), elementwise over `count` numbers; y may be x. */
static void activate(int64_t kind, int64_t count, const real *x, real *y)
{
    switch (kind) {
    case NONE:
        if (x != y)
            memcpy(y, x, count * sizeof(real));
        break;
    case RELU:
        for (int64_t i = 0; i < count; i++)
            y[i] = x[i] <= 0 ? 0 : x[i];
        break;
    case HARDTANH:
        for (int64_t i = 0; i < count; i++) {
            real least = x[i] < -1 ? -1 : x[i];
            y[i] = least > 1 ? 1 : least;
        }
        break;
    case TANH:
        for (int64_t i = 0; i < count; i++)
            y[i] = hyperbolic(x[i]);
        break;
    case GELU:
        for (int64_t i = 0; i < count; i++)
            y[i] = (real)(x[i] * 0.5 * (1 + erf(x[i] * M_SQRT1_2)));
        break;
    case SILU:
        for (int64_t i = 0; i < count; i++)
            y[i] = x[i] / (1 + exponential(-x[i]));
        break;
    }
}

/* From the gradient g by y = f(x) to that by x, in its place. */
static void activate_backward(int64_t kind, int64_t count, const real *x, const real *y, real *g)
{
    switch (kind) {
    case RELU:
        for (int64_t i = 0; i < count; i++)
            g[i] = y[i] <= 0 ? 0 : g[i];
        break;
    case HARDTANH:
        for (int64_t i = 0; i < count; i++)
            g[i] = (y[i] <= -1) | (y[i] >= 1) ? 0 : g[i];
        break;
    case TANH:
        for (int64_t i = 0; i < count; i++)
            g[i] *= 1 - y[i] * y[i];
        break;
    case GELU:
        for (int64_t i = 0; i < count; i++) {
            double density = exp(-0.5 * x[i] * x[i]) * M_2_SQRTPI * M_SQRT1_2 * 0.5;
            g[i] = (real)(g[i] * (0.5 * (1 + erf(x[i] * M_SQRT1_2)) + x[i] * density));
        }
        break;
    case SILU:
        for (int64_t i = 0; i < count; i++) {
            real s = 1 / (1 + exponential(-x[i]));
            g[i] *= s * (1 + x[i] * (1 - s));
        }
        break;
    }
}

/* ------------------------------------------------------------------------------------------------- the network */

/* Sums and outputs of all layers [rows, width], one behind the other, from inputs [rows, input_width]. Sums are kept
   only where the activation's derivative is not one of its outputs. Returns the last layer's outputs. */
EXPORT const real *NAME(forward)(const Network *network, const real *values, int64_t rows, const real *inputs,
                                 real *sums, real *outputs)
{
    int64_t below = network->input_width;
    for (int64_t l = 0; l < network->depth; l++) {
        const Layer *layer = network->layers + l;
        int64_t kept = layer->activation == GELU || layer->activation == SILU;
        real *written = kept ? sums : outputs;
        for (int64_t i = 0; i < layer->parts; i++) {
            const Part *part = network->parts + layer->first_part + i;
            const real *matrix = values + part->matrix;
            product(rows, part->outputs, part->inputs, inputs + part->input, below, 1, matrix, part->outputs,
                    written + part->output, layer->width, matrix + part->inputs * part->outputs, 0);
        }
        activate(layer->activation, rows * layer->width, written, outputs);
        inputs = outputs;
        below = layer->width;
        sums += rows * layer->width;
        outputs += rows * layer->width;
    }
    return inputs;
}

/* The matrix of a part [inputs, outputs], the other way round: [outputs, pad(inputs)]. */
static void transpose(const Part *part, const real *matrix, real *transposed, int64_t width)
{
    for (int64_t block = 0; block < part->outputs; block += PAD)
        for (int64_t i = 0; i < width; i++)
            for (int64_t o = block; o < block + PAD; o++)
                transposed[o * width + i] = i < part->inputs ? matrix[i * part->outputs + o] : 0;
}

/* All gradients, from that by the last layer's outputs, which lies in `by_outputs` [rows, width] and is overwritten;
   `other` is as large as the widest layer. */
static void backward(const Network *network, const real *values, int64_t rows, const real *inputs, const real *sums,
                     const real *outputs, real *by_outputs, real *other, real *transposed, real *gradient)
{
    int64_t behind = 0;
    for (int64_t l = 0; l < network->depth; l++)
        behind += rows * network->layers[l].width;
    for (int64_t l = network->depth - 1; l >= 0; l--) {
        const Layer *layer = network->layers + l;
        behind -= rows * layer->width;
        activate_backward(layer->activation, rows * layer->width, sums + behind, outputs + behind, by_outputs);
        int64_t below = l ? network->layers[l - 1].width : network->input_width;
        const real *seen = l ? outputs + behind - rows * below : inputs;
        for (int64_t i = 0; i < layer->parts; i++) {
            const Part *part = network->parts + layer->first_part + i;
            const real *its = by_outputs + part->output;
            real *by_matrix = gradient + part->matrix, *by_bias = by_matrix + part->inputs * part->outputs;
            product(part->inputs, part->outputs, rows, seen + part->input, 1, below, its, layer->width, by_matrix,
                    part->outputs, 0, 0);
            memset(by_bias, 0, part->outputs * sizeof(real));
            for (int64_t row = 0; row < rows; row++)
                for (int64_t o = 0; o < part->outputs; o++)
                    by_bias[o] += its[row * layer->width + o];
            if (l == 0)
                continue;
            int64_t width = (part->inputs + PAD - 1) / PAD * PAD;
            int shared = i && part->input == part[-1].input; /* both heads read the same */
            transpose(part, values + part->matrix, transposed, width);
            product(rows, width, part->outputs, its, layer->width, 1, transposed, width, other + part->input, below, 0,
                    shared);
        }
        real *swapped = by_outputs;
        by_outputs = other;
        other = swapped;
    }
}

/* ---------------------------------------------------------------------------------------------- PPO's loss */

#define HALF_LOG_TAU 0.91893853320467274178

typedef struct {
    double policy, value, entropy, approx_kl, clip_fraction, norm;
} Statistics;

/* What does not change during an update. Every array of transitions has `transitions` rows. */
typedef struct {
    const Network *network;
    real *values, *gradient, *exp_avg, *exp_avg_sq; /* [size] */
    const real *observations;                       /* [M, observation_size] */
    const real *actions;                            /* [M, actions], or null */
    const int64_t *choices;                         /* [M], or null */
    const real *log_probs, *advantages, *returns;   /* [M] */
    int64_t size, transitions, batch, observation_size, action_count, value_column, log_std;
    double clip_range, vf_coef, ent_coef, max_grad_norm, beta1, beta2, eps;
    int64_t normalize_advantage, spans;
    const int64_t *span_ends; /* [spans]: parameters of one age, up to there */
    int64_t *steps;           /* [spans]: Adam's steps so far */
    real *inputs, *sums, *outputs, *by_outputs, *other, *transposed; /* memory to work in */
} Update;

/* One transition's share of the policy's loss, from its log-probability; returns its derivative by that. */
INLINE real surrogate(real log_prob, real old, real loss, double clip_range, Statistics *sums)
{
    real log_ratio = log_prob - old, ratio = exponential(log_ratio);
    real least = (real)(1 - clip_range), most = (real)(1 + clip_range);
    real clipped = ratio < least ? least : ratio > most ? most : ratio;
    real free = ratio * loss, bounded = clipped * loss;
    sums->approx_kl += (double)(ratio - 1 - log_ratio);
    sums->clip_fraction += ratio != clipped;
    /* Where clipping makes the loss larger, it no longer depends on the ratio. What is not a number is told. */
    sums->policy += free != free || free >= bounded ? free : bounded;
    return free >= bounded ? free : 0;
}

/* The loss of a minibatch, as sums over its rows, and its gradient by the outputs and, of a Gaussian, by log_std. */
static Statistics loss(const Update *u, int64_t rows, const int64_t *order, const real *outputs, int64_t width)
{
    Statistics sums = {0};
    const int64_t A = u->action_count;
    const real *log_std = u->values + u->log_std;
    real *by_log_std = u->gradient + u->log_std;
    double mean = 0, deviation = 1;
    if (u->normalize_advantage && rows > 1) { /* one sample has no deviation */
        double squares = 0;
        for (int64_t i = 0; i < rows; i++)
            mean += u->advantages[order[i]];
        mean /= rows;
        for (int64_t i = 0; i < rows; i++)
            squares += (u->advantages[order[i]] - mean) * (u->advantages[order[i]] - mean);
        deviation = sqrt(squares / (rows - 1)) + 1e-8;
    }
    double volume = 0;
    if (u->actions) {
        memset(by_log_std, 0, A * sizeof(real));
        for (int64_t a = 0; a < A; a++) {
            volume += log_std[a] + HALF_LOG_TAU;
            u->transposed[a] = (real)exp(-(double)log_std[a]); /* 1 / sigma; the memory is free until `backward` */
        }
        sums.entropy = rows * (volume + 0.5 * A);
    }
    memset(u->by_outputs, 0, rows * width * sizeof(real));
    for (int64_t i = 0; i < rows; i++) {
        const int64_t row = order[i];
        const real *its = outputs + i * width;
        real *by = u->by_outputs + i * width;
        const real share = (real)(-(u->advantages[row] - mean) / deviation / rows);
        if (u->actions) {
            const real *action = u->actions + row * A, *precision = u->transposed;
            real z[A], squares = 0;
            for (int64_t a = 0; a < A; a++) {
                z[a] = (action[a] - its[a]) * precision[a];
                squares += z[a] * z[a];
            }
            const real by_log_prob =
                surrogate((real)(-0.5 * squares - volume), u->log_probs[row], share, u->clip_range, &sums);
            for (int64_t a = 0; a < A; a++) {
                by[a] = by_log_prob * z[a] * precision[a];
                by_log_std[a] += by_log_prob * (z[a] * z[a] - 1);
            }
        } else {
            real log_p[A], largest = its[0], total = 0, entropy = 0;
            for (int64_t a = 1; a < A; a++)
                largest = its[a] > largest ? its[a] : largest;
            for (int64_t a = 0; a < A; a++)
                total += exponential(its[a] - largest);
            const real normaliser = largest + (real)log(total);
            for (int64_t a = 0; a < A; a++) {
                log_p[a] = its[a] - normaliser;
                by[a] = exponential(log_p[a]); /* p, for now */
                entropy -= by[a] * log_p[a];
            }
            const int64_t chosen = u->choices[row];
            const real by_log_prob = surrogate(log_p[chosen], u->log_probs[row], share, u->clip_range, &sums);
            const real by_entropy = (real)(-u->ent_coef / rows);
            for (int64_t a = 0; a < A; a++) /* dH/dx = -p (log p + H) */
                by[a] *= -by_log_prob - by_entropy * (log_p[a] + entropy);
            by[chosen] += by_log_prob;
            sums.entropy += entropy;
        }
        const real error = its[u->value_column] - u->returns[row];
        by[u->value_column] = (real)(2 * u->vf_coef / rows) * error;
        sums.value += (double)error * error;
    }
    if (u->actions)
        for (int64_t a = 0; a < A; a++)
            by_log_std[a] -= (real)u->ent_coef;
    return sums;
}

/* ------------------------------------------------------------------------------------------- clipping and Adam */

static double norm_of(const real *numbers, int64_t count)
{
    double total = 0;
    for (int64_t start = 0; start < count; start += 1024) { /* in longer sums small numbers would be lost */
        int64_t end = start + 1024 < count ? start + 1024 : count;
        real sums[PAD] = {0};
        for (int64_t i = start; i + PAD <= end; i += PAD) /* `size` is a multiple of PAD */
            for (int j = 0; j < PAD; j++)
                sums[j] += numbers[i + j] * numbers[i + j];
        for (int j = 0; j < PAD; j++)
            total += sums[j];
    }
    return sqrt(total);
}

static void adam(const Update *u, double norm, double learning_rate)
{
    double scale = u->max_grad_norm / (norm + 1e-6); /* as torch.nn.utils.clip_grad_norm_ */
    real factor = scale < 1 ? (real)scale : 1;
    real keep1 = (real)u->beta1, keep2 = (real)u->beta2, take1 = (real)(1 - u->beta1), take2 = (real)(1 - u->beta2);
    real *restrict x = u->values, *restrict m = u->exp_avg, *restrict v = u->exp_avg_sq;
    const real *restrict g = u->gradient;
    int64_t i = 0;
    for (int64_t s = 0; s < u->spans; s++) {
        double steps = (double)++u->steps[s];
        real step = (real)(learning_rate / (1 - pow(u->beta1, steps)));
        real root = (real)(1 / sqrt(1 - pow(u->beta2, steps))), eps = (real)u->eps;
        for (; i < u->span_ends[s]; i++) {
            real its = g[i] * factor;
            m[i] = keep1 * m[i] + take1 * its;
            v[i] = keep2 * v[i] + take2 * its * its;
            x[i] -= step * m[i] / (SQRT(v[i]) * root + eps);
        }
    }
}

/* What compiled this: another compiler may round elsewhere. */
#ifndef DOUBLE
#ifdef __clang__
EXPORT const char *compiler(void) { return __VERSION__; }
#else
EXPORT const char *compiler(void) { return "gcc " __VERSION__; }
#endif
#endif

/* All minibatches of an epoch, in the order [M] given; fills a row of statistics for each.

   Returns how many were learned from: fewer than all where a loss or a gradient's norm is not finite, before the step
   that it would have spoiled; its statistics are the last that were filled. */
EXPORT int64_t NAME(epoch)(const Update *u, const int64_t *order, double learning_rate, Statistics *statistics)
{
    const Network *network = u->network;
    int64_t minibatch = 0, width = network->layers[network->depth - 1].width;
    for (int64_t start = 0; start < u->transitions; start += u->batch, minibatch++) {
        int64_t rows = start + u->batch < u->transitions ? u->batch : u->transitions - start;
        for (int64_t i = 0; i < rows; i++) /* the padding behind each row stays 0 */
            memcpy(u->inputs + i * network->input_width, u->observations + order[start + i] * u->observation_size,
                   u->observation_size * sizeof(real));
        const real *outputs = NAME(forward)(network, u->values, rows, u->inputs, u->sums, u->outputs);
        Statistics *its = statistics + minibatch;
        *its = loss(u, rows, order + start, outputs, width);
        its->policy = (real)its->policy; /* what is infinite in the plain formulation is so here */
        its->value = (real)(its->value / rows);
        its->entropy = (real)(its->entropy / rows);
        its->approx_kl /= rows;
        its->clip_fraction /= rows;
        backward(network, u->values, rows, u->inputs, u->sums, u->outputs, u->by_outputs, u->other, u->transposed,
                 u->gradient);
        its->norm = norm_of(u->gradient, u->size);
        if (!isfinite(its->policy + u->vf_coef * its->value - u->ent_coef * its->entropy) || !isfinite(its->norm))
            return minibatch;
        adam(u, its->norm, learning_rate);
    }
    return minibatch;
}
