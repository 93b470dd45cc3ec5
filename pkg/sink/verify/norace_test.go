//go:build !race

package verify_test

// race is 1 under the race detector, which makes the S3 server many times as slow.
const race = 0
