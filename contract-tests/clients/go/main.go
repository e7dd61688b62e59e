// Command drive runs the journey with the client that oapi-codegen generated from openapi.yaml.
//
// ../README.md describes its input, its output and the members of a step.
package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"merch.example/clients/go/merch"
)

// Limit of one call.
const timeLimit = 30 * time.Second

func main() {
	err := drive()
	var difference *difference
	switch {
	case err == nil:
	case errors.As(err, &difference):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// drive runs all steps in order, up to the first mismatch.
func drive() error {
	settings, err := environment()
	if err != nil {
		return err
	}
	steps, err := readJourney(settings.journey)
	if err != nil {
		return err
	}
	client, err := merch.NewClientWithResponses(settings.url, merch.WithHTTPClient(&http.Client{
		Timeout: timeLimit,
		// The default transport would use the proxy of the environment.
		Transport: &http.Transport{},
	}))
	if err != nil {
		return fmt.Errorf("MERCH_URL is no URL: %w", err)
	}
	runner := runner{
		caller:    caller{client},
		variables: variables{"unique": settings.unique, "sold_out_product": settings.soldOutProduct},
	}
	for index, step := range steps {
		number := index + 1
		if reason, skipped := step.NotIn["go"]; skipped {
			fmt.Printf("skipped %d %s %s\n", number, step.Operation, reason)
			continue
		}
		if err := runner.take(step); err != nil {
			return fmt.Errorf("step %d, %s %q: %w", number, step.Operation, step.Name, err)
		}
		fmt.Printf("ok %d %s %d %s\n", number, step.Operation, step.Expect.Status, step.Name)
	}
	return nil
}

type settings struct {
	url, journey, unique string
	soldOutProduct       int64
}

var uniqueForm = regexp.MustCompile(`^[a-z0-9]{1,14}$`)

func environment() (settings, error) {
	var found settings
	for name, value := range map[string]*string{"MERCH_URL": &found.url, "MERCH_JOURNEY": &found.journey, "MERCH_UNIQUE": &found.unique} {
		if *value = os.Getenv(name); *value == "" {
			return found, fmt.Errorf("the variable %s is not set; ../README.md says what it is", name)
		}
	}
	if !uniqueForm.MatchString(found.unique) {
		return found, errors.New("MERCH_UNIQUE: expected 1 to 14 lower-case letters and digits")
	}
	var err error
	if found.soldOutProduct, err = strconv.ParseInt(os.Getenv("MERCH_SOLD_OUT_PRODUCT"), 10, 32); err != nil {
		return found, errors.New("MERCH_SOLD_OUT_PRODUCT: expected the id of a product")
	}
	return found, nil
}
