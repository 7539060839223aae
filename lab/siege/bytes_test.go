package siege

import "testing"

func TestNoChangedByteIsTaken(t *testing.T) {
	t.Parallel()
	out, err := Flips{Seed: 1, Most: 1500}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range out.Notes {
		t.Error(note)
	}
	t.Log(out.Detail)
}

func TestNoBodyHangsOrFloods(t *testing.T) {
	t.Parallel()
	stock := NewStock()
	for _, c := range Bodies() {
		if c.Slow {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if err := attempt(t.Context(), stock, c, NewMetered, ""); err != nil {
				t.Error(err)
			}
		})
	}
}
