// What tests/kits asks of the kit.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"streamscrub"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	switch os.Args[1] {
	case "dial":
		dial(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6], os.Args[7])
	case "check":
		check()
	}
}

func need(err error) {
	if err != nil {
		panic(err)
	}
}

func dial(bootstrap, allowed, recalled, group, recall, start string) {
	leads, err := streamscrub.NewAllowed(streamscrub.Dialler{
		Group: group, Options: []kgo.Opt{kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.SessionTimeout(6 * time.Second)},
		Topics: []string{allowed}, Recalled: recalled, Recall: recall, Start: start, LagMax: 5 * time.Second,
	})
	need(err)
	given := map[string]streamscrub.Lead{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch command, name, _ := strings.Cut(lines.Text(), " "); command {
		case "next":
			lead, err := leads.Next(context.Background())
			if err != nil {
				fmt.Println("error", err)
				continue
			}
			name = fmt.Sprintf("%d/%d", lead.Partition, lead.Offset)
			given["before "+name] = given[name]
			given[name] = lead
			fmt.Println(name, strings.Join(lead.Numbers, " "))
		case "ack":
			leads.Ack(given[name])
			fmt.Println("ok")
		case "may":
			may, err := leads.MayDial(given[name])
			if err != nil {
				fmt.Println("error", err)
				continue
			}
			switch {
			case may.Allowed:
				fmt.Println("true")
			case may.NotBefore.IsZero():
				fmt.Println("false", may.Why)
			default:
				fmt.Println("false", may.Why, may.NotBefore.Format(time.RFC3339))
			}
		case "postpone": // for a second
			leads.Postpone(given[name], time.Now().Add(time.Second))
			fmt.Println("ok")
		case "trouble":
			fmt.Println(leads.Trouble())
		case "skipped":
			line, err := json.Marshal(leads.Skipped())
			need(err)
			fmt.Println(string(line))
		case "close":
			leads.Close()
			fmt.Println("ok")
		}
	}
}

func check() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var line struct {
			URL, Token string
			Deadline   float64
			Numbers    []string
		}
		need(json.Unmarshal(lines.Bytes(), &line))
		deadline := time.Duration(line.Deadline * float64(time.Second))
		client := streamscrub.NewCheckClient(line.URL, line.Token, deadline, nil)
		stamp, err := client.Check(context.Background(), line.Numbers, map[string]any{"purpose": "insurance"})
		var unknown *streamscrub.Unknown
		if errors.As(err, &unknown) {
			fmt.Println("unknown", unknown.Status, err)
			continue
		}
		need(err)
		fmt.Println(stamp.Allowed, stamp.Reason, strings.Join(stamp.Numbers, ","))
	}
}
