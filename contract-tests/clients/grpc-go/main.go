// Command drive streams log events to LoggingService with the client that protoc-gen-go-grpc
// generated from proto/.
//
// It checks the server's duties in logging.proto. ../README.md describes its input and output.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	loggingv1 "merch.example/clients/grpc-go/gen/merch/logging/v1"
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

// difference is a mismatch between expected and received values; all other errors are faults of the
// environment.
type difference struct {
	expected, got string
}

func (d *difference) Error() string {
	return fmt.Sprintf("StreamLogs: expected %s, got %s", d.expected, d.got)
}

func drive() error {
	settings, err := environment()
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(settings.logging, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return fmt.Errorf("MERCH_LOGGING_GRPC: %w", err)
	}
	defer connection.Close()
	client := loggingv1.NewLoggingServiceClient(connection)

	events, err := newEvents(settings.events, settings.unique)
	if err != nil {
		return err
	}
	for _, refusal := range refusals(events[0]) {
		if err := refused(client, refusal); err != nil {
			return err
		}
		fmt.Println("ok StreamLogs INVALID_ARGUMENT")
	}
	last, err := stream(client, requests(events))
	if err != nil {
		return err
	}
	for _, event := range events {
		fmt.Println("event", event.GetId())
	}
	fmt.Println("acknowledged", last)
	return nil
}

func within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), timeLimit)
}

type settings struct {
	logging, unique string
	events          int
}

func environment() (settings, error) {
	var found settings
	address, err := url.Parse(os.Getenv("MERCH_LOGGING_GRPC"))
	if err != nil || address.Scheme != "http" || address.Host == "" {
		return found, errors.New("MERCH_LOGGING_GRPC: expected the URL of LoggingService, http://127.0.0.1:port")
	}
	found.logging = "passthrough:///" + address.Host
	if found.unique = os.Getenv("MERCH_UNIQUE"); found.unique == "" {
		return found, errors.New("MERCH_UNIQUE: expected something that no run before had")
	}
	if found.events, err = strconv.Atoi(os.Getenv("MERCH_EVENTS")); err != nil || found.events < 3 {
		return found, errors.New("MERCH_EVENTS: expected how many log events to stream, 3 or more")
	}
	return found, nil
}
