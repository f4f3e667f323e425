"""The wordings that only judging uses: none shares four words in a row, arguments aside, with training."""

from parley_demo.dialogue import Phrasebook

PATTERNS: dict[str, tuple[str, ...]] = {
    "typed_sum": (
        "Compute for me please {sum}", "The exercise says {sum}, which number comes out?", "My homework: {sum}",
        "Have you the answer for {sum}?", "Kindly solve this one: {sum}", "Let me have the result {sum}.",
        "Could someone here evaluate {sum}?", "I wonder how much {sum} gives.", "Result of {sum}, please.",
        "Please give the outcome for {sum}", "Is there a number for {sum}?", "{sum} - which value is that?",
        "Now a sum for you: {sum}", "Math question: {sum}", "On paper I have {sum}; what comes out?",
    ),
    "spoken_sum": (
        "Please tell us how much {sum} is.", "Which number is {sum}?", "The answer here, please: {sum}.", "Do this sum: {sum}.",
        "In my head I cannot do {sum}.", "How many are {sum}?", "I would love the result for {sum}.", "Say, {sum} makes how much?",
    ),
    "add": (
        "Take {a} and then add another {b}.", "Which sum do {a} and {b} have?", "Please find {a} and {b} added together.",
        "Put {b} on top: add {a} and {b}.", "When you add {a} to {b}, which number comes out?",
    ),
    "subtract": (
        "Please take off {a} from {b}.", "From {b}, would you subtract {a}?", "Subtracting {a} from {b} leaves what?",
        "Which difference do {b} and {a} have?",
    ),
    "multiply": (
        "Which product do {a} and {b} have?", "Multiplying {a} by {b} gives which number?", "I need {a} and {b} multiplied.",
        "Product for {a} with {b}, please.",
    ),
    "divide": (
        "Dividing {a} by {b} gives which number?", "Please have {a} divided by {b}.", "How often does one divide {a} by {b}?",
        "I need {a} divided evenly by {b}.",
    ),
    "percent": (
        "Which number is {a} percent of {b}?", "I would pay {a}% of {b}; how much?", "Say how much {a}% of {b} makes.",
    ),
    "remainder": (
        "Dividing {a} by {b}, which remainder is left?", "Remainder for {a} modulo {b}, please.", "Say what {a} modulo {b} makes.",
    ),
    "power": (
        "Which number is {a} raised to {b}?", "Raising {a} to the power {b} gives what?", "Power question: {a} raised to {b}.",
    ),
    "squared": ("Which number is {a} squared?", "Squared, {a} makes what?", "If I square {a}, what comes out?"),
    "half": ("Which number is half of {a}?", "Halve the number {a} please.", "Cut in half, {a} is what?"),
    "root": ("Which square root has {a}?", "Root of {a}, please.", "Square root for {a}, please."),
    "figures": (
        "With these numbers, {data}, which {op} comes out?", "Which {op} follows from {data}?", "I have measured {data}. Their {op}, please.",
        "Please say which {op} belongs to {data}.", "About {data}: how large is the {op}?", "Take {data} and report the {op}.",
        "Statistics, please: {op} over {data}.", "Our scores were {data}; please work out their {op}.", "How large is the {op} in {data}?",
        "Work with {data} and find both {op} and {op2}.", "Of {data} I need two figures: {op} and {op2}.", "Could I have {op} plus {op2} for {data}?",
        "Let me know which {op} the numbers {data} have.",
    ),
    "time_in": (
        "Could you consult a clock for {city}?", "What would a clock in {city} show?", "Somebody in {city} asks for the time.",
        "Right this minute, which hour has {city}?", "Do people in {city} sleep at this hour, what does their clock show?", "Local time, please: {city}.",
        "Which date do people write today, in {city} I mean?", "Has {city} reached Monday yet, what weekday is it?", "Please say how late we have it in {city}.",
        "May I ask the time people have in {city}?", "Is it still morning for people in {city}?", "Before I call {city}: which hour would that be?",
        "My clock is wrong; I am from {city}, which time should it show?", "People over there, in {city}, have which time now?",
    ),
    "time": (
        "May I ask which time it is?", "Current date, please.", "Could you consult a clock for me?", "My clock stopped. Which time should it show now?",
        "Which weekday have we today?", "Please say which time we have.",
    ),
    "read": (
        "Which text does {path} contain?", "Could you have {path} opened and read?", "Let me hear what {path} says.", "I would love to read {path}.",
        "Somebody wrote {path}; please read it to me.", "Is there something written in {path}?", "Please put {path} on the screen.",
        "My notes are in {path}, open them.", "May I see {path}?", "The text from {path}, please.", "Can we look at {path} together?",
        "Which lines stand in {path}?", "Quick look into {path}, please.", "Go through {path} and show its text.",
    ),
    "list_folder": (
        "Could I have the names of files that the folder {dir} holds?", "Which documents has the directory {dir} inside?", "Take a look around folder {dir}, please.",
        "Directory {dir}: which files exist?", "I want a list: the folder {dir}.", "How does the folder {dir} look inside?",
        "Is anything stored within the directory {dir}?", "Please enumerate, for directory {dir}, its files.", "Let me hear what folder {dir} contains.",
        "Of the {ext} files, which does folder {dir} have?", "Only {ext} files, please, and only from folder {dir}.",
        "Inside the directory {dir}, find every {ext} file.",
    ),
    "list_workspace": (
        "May I see which files the workspace has?", "Could I have a list of my files?", "Look around the workspace and name its files.",
        "Which documents does the workspace contain?", "Please enumerate what the current directory has.", "Let me hear what files you can see.",
        "Of my files, which are {ext} files?", "Only the {ext} files, please.", "Could I see, of this workspace, every {ext} file?",
    ),
    "hello": ("Good morning, dear model!", "A very good day, dear friend.", "Hello my friend, nice day!", "Hi there, model.", "Hey, good evening!", "Greetings to you, friend."),
    "thanks": ("Thanks, you helped me a lot.", "Great answer, thank you.", "Thank you, that was kind.", "Nice work, many thanks.", "Thanks so much, friend."),
    "bye": ("Goodbye, and see you soon.", "I am going now, bye.", "Bye, until next week!", "Good night and farewell.", "So, see you another day."),
    "who": ("Please say your name.", "Am I speaking to some bot?", "Model, what are you called and who are you?", "May I ask who you are?", "Say a few words about yourself."),
    "can": ("Which things can you do?", "Show which things you can do.", "Please name all your abilities.", "I need help; which tools have you?", "May I ask what tools you have?"),
    "how": ("And how are you, dear model?", "Is everything going well for you?", "Hey, are you doing fine?", "So do you feel well now?", "Hi, how is your day going?"),
    "beyond": (
        "Please write me some verses about {word}.", "Could it rain over {city} this week?", "Which team won the football game against {city}?",
        "Who was king of {name} long ago?", "Explain to my son why {word} is {word2}.", "Is {name} a good doctor?", "I would love a recipe with {word}.",
        "How many people live around {city}?", "Why does my {word} hurt?", "Which film should we see at the weekend?", "Please book us two tickets to {city}.",
        "What do the news say about {name}?", "Can you sing?", "Where did {name} hide the {word}?", "How expensive are hotels near {city}?",
        "Translate {word} for me into Spanish.", "Do you believe that {word} is better than {word2}?", "Which language do people speak in {city}?",
        "Send a letter to {name}.", "How does one cook {word} with {word2}?",
    ),
    "add_to_that": ("Please now add {a} on top.", "With {a} on top, which number is it?", "Then plus another {a}, please.", "Could we add {a} to that?"),
    "take_from_that": ("Please now subtract another {a}.", "And then with {a} taken away, minus {a}?", "Could we subtract {a} from that?", "Then minus {a}, please."),
    "times_that": ("Please now multiply by {a}.", "Could we multiply that by {a}?", "And all of that times {a}?", "Then times {a}, please."),
    "divide_that": ("Please now divide by {a}.", "Could we divide that by {a}?", "And all of that divided by {a}?", "Then divided by {a}, please."),
    "and_op": ("Could I also have the {op}?", "And which {op} do they have?", "Please add the {op}, too.", "Then their {op}, please."),
    "and_city": ("Could you also check {city}?", "And for people in {city}?", "Then a clock for {city}, please.", "Now for {city} instead."),
    "and_path": ("Could I also see {path}?", "And {path}, which text has it?", "Then {path} as well, please.", "Please open {path} after that."),
    "and_dir": ("Could I also see the folder {dir}?", "And the folder {dir}, which files has it?", "Then folder {dir} as well, please.", "Please, after that, list directory {dir}."),
    "open_first": ("Could I also see the first one opened?", "And please open whichever file is first.", "Now the first file, which text has it?", "Then read, please, the first."),
    "join": (", and besides that ", "; moreover, ", ", and another question: ", ", together with this: ", " and, one more thing, ", "; and, while we are here, "),
}  # fmt: skip

BOOK = Phrasebook(PATTERNS)
