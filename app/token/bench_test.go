package token

import "testing"

func BenchmarkSign(b *testing.B) {
	keys := parse(b, keyOf("k1", 'a'), noon)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys.Sign(7, noon); err != nil {
			b.Fatal(err)
		}
	}
}
