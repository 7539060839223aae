// Package compare says which arm of an A/B test is better, and when that is sure enough to stop. It is pure: sums of
// what devices reported go in, numbers and sentences come out, and one may look as often as one likes.
//
// # Intervals that may be looked at all the time
//
// For each pair of arms it gives a confidence sequence for the difference: the chance that it ever fails to hold the
// true difference, at any of the times one looks, is at most alpha (5 %). With k arms each of the k(k-1)/2 pairs gets its
// part of alpha.
//
// For numbers it is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
// "Time-uniform central limit theory and asymptotic confidence sequences" (2021): the difference of the means, plus and
// minus its standard error times
//
//	sqrt((1 + 1/(h r)) (log(1 + h r) + 2 log(1/alpha))),  h = n m / (n + m),
//
// where r makes it narrowest at h = 500. It holds for large numbers of devices, so nothing is said below 50 devices in each
// arm. Values with a very long tail, one buyer in ten thousand, need many more: report such a metric as yes or no.
//
// For yes or no there are two, which share alpha, and what both allow is given. The one above is used once there are
// ten of yes and of no in each arm; four fifths of alpha. The other is exact for every number of devices: all pairs of
// rates (p, q) for which the product of the two beta-binomial mixtures (Robbins 1970, prior Beta(1/2, 1/2)) stays below
// 5/alpha; its ends are the least and the greatest difference among them.
//
// # When the arms cannot be compared
//
// Devices fall into arms by chance in known shares. The e-process of Lindon and Malek, "Anytime-valid inference for
// multinomial count data" (2022), tells when they do not, at a chance of 1 in 10,000; so does a difference in how many
// devices of an arm report at all. Either is said, and then no arm is called better.
//
// One device gives one value. A caller that adds several values of one device makes every interval too narrow.
package compare
