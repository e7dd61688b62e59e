// Prints the values of a topic's first records, one per line.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if err := read(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read() error {
	wanted, err := strconv.Atoi(os.Getenv("MERCH_EVENTS"))
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Getenv("MERCH_KAFKA"), ",")...),
		kgo.ConsumeTopics(os.Getenv("MERCH_TOPIC")),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	limit, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out := bufio.NewWriter(os.Stdout)
	for seen := 0; seen < wanted; {
		fetches := client.PollFetches(limit)
		if errs := fetches.Errors(); len(errs) > 0 {
			return fmt.Errorf("expected %d records, got %d: %w", wanted, seen, errs[0].Err)
		}
		for _, record := range fetches.Records() {
			if seen < wanted {
				fmt.Fprintf(out, "%s\n", record.Value)
				seen++
			}
		}
	}
	return out.Flush()
}
