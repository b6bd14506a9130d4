/* Q-learning of Calvano et al. (2020) in a logit duopoly, as a plain loop: what benchmarks/calvano.py compares societas with.
 *
 * Two firms, m prices, state = the last pair of prices; every period each firm explores with probability exp(-beta t) or
 * takes the first best price of its row, is paid, and moves Q towards pay + delta max Q'. Converged when neither greedy
 * strategy has changed in any state for 100,000 periods. Usage: calvano alpha beta delta sessions seed periods < table,
 * where the table is m and then the pay of firm 0 and firm 1 for every pair of prices. `periods` > 0 stops each session
 * after so many. Prints mean pay of a firm over the cycle in which play ends, mean periods, and processor seconds.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MOST 64
#define WINDOW 100000

static uint64_t seed_;
static double pay[MOST * MOST][2];
static double q[2][MOST * MOST][MOST];
static int greedy[2][MOST * MOST];
static int m;

static double uniform(void) { /* SplitMix64 */
    uint64_t z = (seed_ += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static int best(const double *row) {
    int k, found = 0;
    for (k = 1; k < m; k++)
        if (row[k] > row[found]) found = k;
    return found;
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    double alpha = atof(argv[1]), beta = atof(argv[2]), delta = atof(argv[3]), earned = 0.0, lasted = 0.0;
    long sessions = atol(argv[4]), fixed = atol(argv[6]);
    seed_ = strtoull(argv[5], NULL, 10);
    if (scanf("%d", &m) != 1 || m > MOST) return 3;
    for (int s = 0; s < m * m; s++)
        if (scanf("%lf %lf", &pay[s][0], &pay[s][1]) != 2) return 3;
    clock_t start = clock();
    for (long session = 0; session < sessions; session++) {
        for (int a = 0; a < m; a++) {
            double mean[2] = {0.0, 0.0};
            for (int b = 0; b < m; b++) mean[0] += pay[a * m + b][0] / m, mean[1] += pay[b * m + a][1] / m;
            for (int i = 0; i < 2; i++)
                for (int s = 0; s < m * m; s++) q[i][s][a] = mean[i] / (1.0 - delta);
        }
        for (int i = 0; i < 2; i++)
            for (int s = 0; s < m * m; s++) greedy[i][s] = best(q[i][s]);
        int state = (int)(uniform() * m) * m + (int)(uniform() * m), act[2], quiet = 0;
        long t = 0;
        while (fixed ? t < fixed : quiet < WINDOW) {
            double epsilon = exp(-beta * (double)t);
            for (int i = 0; i < 2; i++) act[i] = uniform() < epsilon ? (int)(uniform() * m) : best(q[i][state]);
            int after = act[0] * m + act[1], changed = 0;
            for (int i = 0; i < 2; i++) {
                double *cell = &q[i][state][act[i]];
                double worth = q[i][after][best(q[i][after])];
                *cell = (1.0 - alpha) * *cell + alpha * (pay[after][i] + delta * worth);
                int now = best(q[i][state]);
                changed |= now != greedy[i][state];
                greedy[i][state] = now;
            }
            quiet = changed ? 0 : quiet + 1;
            state = after;
            t++;
        }
        lasted += (double)t / (double)sessions;
        for (int s = 0; s < m * m; s++) state = greedy[0][state] * m + greedy[1][state];
        int first = state, length = 0;
        double sum = 0.0;
        do {
            state = greedy[0][state] * m + greedy[1][state];
            sum += (pay[state][0] + pay[state][1]) / 2.0;
            length++;
        } while (state != first);
        earned += sum / length / (double)sessions;
    }
    printf("%.12g %.12g %.6f\n", earned, lasted, (double)(clock() - start) / CLOCKS_PER_SEC);
    return 0;
}
